//! `playbooks/ingress.toml`: two services on one host, TLS with a redirect and without, its versions, a certificate that is renewed under traffic,
//! maintenance under traffic, edge servers, and what NGINX itself refuses. Clients over TLS are curl's. Deliberately absent: what else is spoken over TLS, and each setting of a host, which
//! are in `outside`.
use crate::fleet::Fleet;
use crate::project::{Project, inventory};
use crate::server::Server;
use crate::shop::{deploy, ports};
use crate::tls::{certify, curl_of, tunnel};
use crate::traffic::Traffic;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

const PLAYBOOK: &str = include_str!("../../playbooks/ingress.toml");
const PAGES: [(&str, &str); 2] = [
    ("pages/maintenance.html", include_str!("../../playbooks/pages/maintenance.html")),
    ("pages/large.html", include_str!("../../playbooks/pages/large.html")),
];
const HOST: &str = "shop.example.com";

/// curl, for the host at this server: what it prints, headers first, and its exit code.
fn curl(project: &Project, server: &Server, arguments: &[&str]) -> (String, i32) {
    let output = curl_of(project, server, HOST).arg("-i").args(arguments).output().expect("curl runs");
    (String::from_utf8_lossy(&output.stdout).to_lowercase(), output.status.code().unwrap_or(-1))
}

/// Clients over TLS that write a line for every answer: each a new connection, and kept ones.
struct Clients {
    end: std::path::PathBuf,
    children: Vec<(Child, std::path::PathBuf)>,
}

impl Clients {
    /// New connections go to `/api/`, kept ones below this path.
    fn start(project: &Project, server: &Server, kept: &str) -> Self {
        let end = project.path("end");
        // Where others were before.
        drop(fs::remove_file(&end));
        let line = |more: &str| {
            let command = curl_of(project, server, HOST);
            let words: Vec<String> = command.get_args().map(|word| format!("'{}'", word.to_string_lossy())).collect();
            format!("curl {} -o /dev/null -w '%{{http_code}}\\n' {more}", words.join(" "))
        };
        let one = line(&format!("https://{HOST}/api/"));
        let kept = line(&format!("--rate 20/s 'https://{HOST}{kept}?[1-20]'"));
        let kept = format!("while [ ! -e '{}' ]; do {kept} || echo failed; done", end.display());
        let new = format!("while [ ! -e '{}' ]; do {one} || echo failed; sleep 0.05; done", end.display());
        let start = |(number, script): (usize, String)| {
            let log = project.path(&format!("client{number}"));
            let out = File::create(&log).expect("a file");
            let errors = out.try_clone().expect("the same file");
            let child = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).stdout(out).stderr(errors).spawn();
            (child.expect("a shell"), log)
        };
        Self { children: [new, kept].into_iter().enumerate().map(start).collect(), end }
    }

    /// Every request was answered with 200, and there were many.
    fn none_failed(mut self) {
        thread::sleep(Duration::from_secs(1));
        fs::write(&self.end, "").expect("the end");
        for (child, log) in &mut self.children {
            child.wait().expect("a child");
            let lines = fs::read_to_string(&log).expect("a log");
            let other: Vec<&str> = lines.lines().filter(|line| *line != "200").take(5).collect();
            assert!(other.is_empty(), "{other:?}");
            assert!(lines.lines().count() >= 40, "{} answers", lines.lines().count());
            println!("{} answers, none failed", lines.lines().count());
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        drop(fs::write(&self.end, ""));
        for (child, _) in &mut self.children {
            drop(child.wait());
        }
    }
}

/// The certificate that is served: its digest.
fn served(server: &Server) -> String {
    let script = format!(
        "openssl s_client -connect {}:443 -servername {HOST} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint",
        server.address
    );
    String::from_utf8_lossy(&Command::new("sh").args(["-c", &script]).output().expect("openssl runs").stdout).into_owned()
}

/// What comes of a client that offers this version of TLS alone, and whatever ciphers its openssl knows: what is spoken, or the server's alert.
fn offers(server: &Server, version: &str) -> String {
    let ask = format!(
        "openssl s_client -connect {}:443 -servername {HOST} -{version} -cipher DEFAULT:@SECLEVEL=0 </dev/null 2>&1",
        server.address
    );
    let said = String::from_utf8_lossy(&Command::new("timeout").args(["10", "sh", "-c", &ask]).output().expect("openssl runs").stdout)
        .into_owned();
    let told = |begin: &str| said.lines().find(|line| line.contains(begin)).map(str::to_owned);
    told(" alert ").or_else(|| told("New, ")).unwrap_or(said.clone())
}

#[test]
fn a_shared_host_over_tls_is_renewed_and_deployed_without_a_lost_request_and_what_nginx_refuses_is_not_switched() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let (one, three) = (&servers[0], &servers[2]);
    let project = Project::new(&fleet, PLAYBOOK);
    let text = inventory(&fleet, "root", &[1, 2, 3]).replace("[nginx]\n", "[nginx]\nedge = [\"edge\"]\n");
    let text = ["server1", "server2"]
        .iter()
        .fold(text, |text, name| text.replace(&format!("[servers.{name}]\n"), &format!("[servers.{name}]\ntags = [\"edge\"]\n")));
    project.inventory(&text);
    certify(&project, &[HOST]);
    fs::create_dir(project.path("pages")).expect("a folder");
    for (name, text) in PAGES {
        fs::write(project.path(name), text).expect("a page");
    }
    deploy(&project).exits(0);

    let url = |path: &str| format!("https://{HOST}{path}");
    let (seen, _) = curl(&project, one, &["http://shop.example.com/a?b=c"]);
    assert!(seen.starts_with("http/1.1 308") && seen.contains("\nlocation: https://shop.example.com/a?b=c"), "{seen}");
    let (seen, _) = curl(&project, one, &[&url("/")]);
    assert!(seen.starts_with("http/1.1 200") && seen.contains("strict-transport-security: max-age=3600"), "{seen}");
    let (seen, _) = curl(&project, &servers[1], &["-H", "X-Forwarded-For: 6.6.6.6", "-H", "X-Request-ID: mine", &url("/api/headers")]);
    let network = one.address.rsplit_once('.').expect("an address").0;
    let told =
        |client: &str| format!("\nx-real-ip: {client}\nx-forwarded-for: {client}\nx-forwarded-proto: https\nx-forwarded-host: {HOST}\n");
    assert!(seen.contains(&told(&format!("{network}.1"))) && seen.contains("x-request-id: mine") && !seen.contains("6.6.6.6"), "{seen}");
    // Whoever asks from another server has that server's address.
    let ask = format!(
        "printf 'GET /api/headers HTTP/1.0\\r\\nHost: {HOST}\\r\\n\\r\\n' | openssl s_client -quiet -connect {}:443 -servername {HOST}",
        one.address
    );
    let seen = servers[1].run(&ask).to_lowercase();
    assert!(seen.contains(&told(&servers[1].address)), "{seen}");
    for version in ["tls1", "tls1_1"] {
        let seen = offers(one, version);
        assert!(seen.contains("alert protocol version"), "{version}: {seen}");
    }
    for (version, spoken) in [("tls1_2", "New, TLSv1.2, Cipher is ECDHE-"), ("tls1_3", "New, TLSv1.3, Cipher is TLS_")] {
        let seen = offers(one, version);
        assert!(seen.starts_with(spoken), "{version}: {seen}");
    }
    fs::write(project.path("large"), vec![b'x'; 1_500_000]).expect("a file");
    let large = format!("@{}", project.path("large").display());
    let upload = |path: &str| curl(&project, one, &["-o", "/dev/null", "-w", "%{http_code}", "--data-binary", &large, &url(path)]).0;
    assert_eq!((upload("/echo"), upload("/api/echo")), ("413".to_owned(), "200".to_owned()), "its own bound each");
    let (seen, _) = curl(&project, one, &["--data-binary", &large, &url("/echo")]);
    assert!(seen.contains("content-type: text/html") && seen.contains("that is too large"), "{seen}");
    assert!(
        curl(&project, one, &[&url("/.flipside/pages/front.prod.web.413.html")]).0.starts_with("http/1.1 404"),
        "pages are NGINX's own"
    );
    let elsewhere = ["--resolve", &format!("other.example.com:443:{}", one.address), "https://other.example.com/"];
    assert_eq!(curl(&project, one, &elsewhere).1, 35, "nobody is shown a certificate of another host");
    assert_eq!((curl(&project, three, &[&url("/")]).1, curl(&project, three, &["http://shop.example.com/"]).1), (7, 7), "no edge server");
    assert_eq!(three.run("ls /local/flipside/tls").trim(), "", "it has no certificate, and no key");
    assert_eq!(one.run("stat -c '%a %u' /local/flipside/tls /local/flipside/tls/*/*/shop_key").trim(), "700 0\n400 0");
    let released = "grep -rl 'PRIVATE KEY' /local/flipside/nginx /local/flipside/run /local/flipside/doors; docker inspect flipside_nginx | grep -c 'PRIVATE KEY'";
    assert_eq!(one.run(released).trim(), "0");

    // A renewed certificate is one reload: no container is touched, and nobody notices.
    let clients = Clients::start(&project, one, "/");
    // With it, the load balancer that this machine is from now on is believed.
    project.inventory(&text.replace("[nginx]\n", &format!("[nginx]\ntrusted_proxies = [\"{network}.0/24\"]\n")));
    let (before, containers) = (served(one), servers.iter().map(Server::containers).collect::<Vec<_>>());
    certify(&project, &[HOST]);
    deploy(&project).exits(0).says(&["web: its certificate is renewed"]);
    assert_eq!(servers.iter().map(Server::containers).collect::<Vec<_>>(), containers);
    assert_ne!(served(one), before);
    let (seen, _) = curl(&project, one, &["-H", "X-Forwarded-For: 6.6.6.6", &url("/api/headers")]);
    assert!(seen.contains(&format!("\nx-real-ip: 6.6.6.6\nx-forwarded-for: 6.6.6.6, {network}.1\n")), "{seen}");
    deploy(&project).exits(0).says(&["nothing to do"]);

    // Both services move, and what NGINX refuses is not switched to.
    let second = PLAYBOOK.replace(":1.0\"", ":2.0\"").replace("version = \"1.0\"", "version = \"2.0\"");
    project.playbook(&second);
    deploy(&project).exits(0).says(&["2 services switched"]);
    let broken = second.replace("body_size = \"1m\"", "snippets = { location = \"nonsense on;\" }");
    project.playbook(&broken);
    deploy(&project).exits(5).says(&["unknown directive \"nonsense\"", "was put back"]);
    clients.none_failed();
    let (seen, _) = curl(&project, one, &[&url("/api/")]);
    assert!(seen.contains("\n2.0 "), "{seen}");

    // In maintenance the public hosts of one service get a page; the mesh, and whoever shares the host, do not notice. Nothing of it is changed
    // by a deploy, a rollback, or a restart of NGINX.
    project.playbook(&second);
    let (internal, ..) = ports(&project, "web");
    let maintenance = |state: &str| project.flipside(&["maintenance", state, "web", "-y"]).exits(0);
    let is_closed = || {
        for server in &servers[..2] {
            let (seen, _) = curl(&project, server, &[&url("/any")]);
            assert!(seen.starts_with("http/1.1 503") && seen.contains("retry-after: 120") && seen.contains("closed for an hour"), "{seen}");
            assert!(curl(&project, server, &[&url("/api/")]).0.starts_with("http/1.1 200"));
        }
        let asks = format!("exec 3<>/dev/tcp/127.0.0.1/{internal}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; head -n 1 <&3");
        assert!(three.must(&asks).contains(" 200 "), "the mesh goes on");
    };
    // What has been open since before lives on, and whoever shares the host goes on, through the deploy behind the page, too.
    let clients = Clients::start(&project, one, "/api/");
    let open = Traffic::to([format!("ws:http://{}/ws#{HOST}", tunnel(&project, one, HOST, "http/1.1"))]);
    maintenance("on").says(&["maintenance front/prod done"]);
    open.phase("closed");
    is_closed();
    open.end().none_failed().only("closed", "2.0");
    project.flipside(&["status"]).exits(0).says(&["web: its public hosts are in maintenance"]);
    project.playbook(&second.replace("flipside/app:2.0", "flipside/app:3.0").replace("hsts = \"1h\"", "redirect = false"));
    deploy(&project).exits(0).says(&["web: its public hosts are in maintenance, and stay so", "2 services switched"]);
    is_closed();
    project.flipside(&["rollback", "-y"]).exits(0).says(&["web: its public hosts are in maintenance, and stay so", "2 services switched"]);
    servers[1].must("docker restart -t 1 flipside_nginx");
    // It is there a moment later.
    curl(&project, &servers[1], &["--retry", "10", "--retry-delay", "1", "--retry-all-errors", &url("/api/")]);
    is_closed();
    maintenance("off");
    // From now on those who come without TLS are served, too, and the app knows.
    for scheme in ["https", "http"] {
        let (seen, _) = curl(&project, one, &[&format!("{scheme}://{HOST}/"), &format!("{scheme}://{HOST}/headers")]);
        let is_told = seen.contains(&format!("\nx-forwarded-proto: {scheme}\n"));
        assert!(seen.starts_with("http/1.1 200") && seen.contains("\n2.0 ") && is_told, "{scheme}: {seen}");
    }
    clients.none_failed();
    maintenance("off").says(&["nothing to do"]);

    // Whoever shares the host is not left there in plain text.
    let (there, link) = (|| servers.iter().map(Server::containers).collect::<Vec<_>>(), "readlink /local/flipside/nginx/current");
    let (containers, live) = (there(), one.must(link));
    let bare = "web: the host shop.example.com has its `tls` from it alone: without it api would be served there in plain text";
    project.flipside(&["remove", "web", "-y"]).exits(3).says(&[bare, "flipside remove api web"]);
    assert_eq!((there(), one.must(link)), (containers, live));
    assert!(curl(&project, one, &[&url("/api/")]).0.starts_with("http/1.1 200"));

    // A key that is not the certificate's is seen before anything is changed.
    fs::copy(project.path("secrets/prod/shop_cert"), project.path("kept")).expect("a copy");
    certify(&project, &[HOST]);
    fs::copy(project.path("kept"), project.path("secrets/prod/shop_cert")).expect("the copy");
    project.playbook(&second);
    deploy(&project).exits(3).says(&["the key shop_key: it does not belong to the certificate"]);
}
