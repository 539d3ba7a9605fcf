//! Containers that somebody else started: proposed, taken over with traffic on them (`playbooks/adopt.toml`), and as they were where the
//! deploy fails.
use crate::fleet::Fleet;
use crate::gap::Client;
use crate::project::{Output, Project, inventory};
use crate::server::{Server, in_quotes};
use crate::shop::{api_on, deploy, header, is, ports};
use crate::traffic::HOST;
use serde_json::Value;

const EXAMPLE: &str = include_str!("../../playbooks/adopt.toml");

/// A client on the server itself that goes to the first of two ports of localhost that answers, again and again, until `/tmp/enough` is
/// there. It prints how often it asked, how often nobody answered, and who did.
const CLIENT: &str = r#"use IO::Socket::INET;
my ($asked, $failed, %who) = (0, 0);
sub ask {
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $_[0], Timeout => 5) or return;
    print $s "GET / HTTP/1.0\r\nHost: shop.example.com\r\n\r\n"; $s->flush;
    my $answer = join '', <$s>;
    return $1 if $answer =~ m{^HTTP/1.[01] 200 .*?\r\n\r\n(\S+)}s;
    return;
}
until (-e '/tmp/enough') {
    $asked++;
    my $by = ask($ARGV[0]) // ask($ARGV[1]);
    defined $by ? $who{$by}++ : $failed++;
    select undef, undef, undef, 0.02;
}
print "asked ", $asked > 100 ? 'often' : $asked, ", failed $failed, by ", join(' and ', sort keys %who), "\n";"#;

const SITE: &str = "site.example.com";
const PLAIN: &str = "plain.example.com";

/// What the engine says of a container: its id, whether it runs, and when it starts it by itself.
fn how(server: &Server, name: &str) -> String {
    let format = "{{.Id}} {{.State.Status}} {{.HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}}";
    server.must(&format!("docker inspect -f '{format}' {name}")).trim().to_owned()
}

#[test]
fn a_container_of_others_is_taken_over_without_a_gap_and_is_as_it_was_where_the_deploy_fails() {
    let fleet = Fleet::take();
    let (one, two) = (fleet.server(1), fleet.server(2));
    one.must("docker run -d --name api-1 --restart on-failure:5 -p 8080:8000 -e LEVEL=info flipside/app:1.0");
    let compose = "--label com.docker.compose.project=old --label com.docker.compose.service=api";
    two.must(&format!("docker run -d --name old-web-1 --restart always {compose} -p 8080:8000 flipside/app:1.0"));
    let before = (how(&one, "api-1"), how(&two, "old-web-1"));
    let line = "adopt = { servers = { server1 = \"api-1\", server2 = \"old-web-1\" } }";
    assert!(EXAMPLE.contains(line));
    let project = Project::new(&fleet, &EXAMPLE.replace(line, ""));
    project.inventory(&inventory(&fleet, "root", &[1, 2]));

    // It is proposed, and nothing is touched.
    let untouched = fleet.snapshot();
    project.flipside(&["adopt"]).exits(0).says(&[
        line,
        "its name has the word api",
        "compose calls it api",
        "its image is of the same repository, flipside/app",
        "variables that the playbook does not set",
        "LEVEL",
        "Nothing answers at port 8080 any more",
    ]);
    let output = project.flipside(&["adopt", "--output", "json"]).exits(0);
    let json: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|problem| panic!("{problem}: {}", output.all()));
    assert_eq!(json["services"][0]["lines"][0], line, "{json:#}");
    assert_eq!(fleet.snapshot(), untouched);

    // A release that never is well, and a deploy that fails when all is done: they run as they did.
    let (internal, ..) = ports(&project, "api");
    let start = format!("setsid perl -e {} {internal} 8080 >/tmp/client 2>&1 </dev/null &", in_quotes(CLIENT));
    for server in [&one, &two] {
        server.must(&format!("rm -f /tmp/enough; ({start})"));
    }
    project.playbook(&EXAMPLE.replace("app:2.0", "app:3.0-unhealthy"));
    deploy(&project).exits(5).says(&["everything was put back"]);
    assert_eq!((how(&one, "api-1"), how(&two, "old-web-1")), before);
    project.playbook(&format!("{EXAMPLE}\n[hooks]\nafter_deploy = [{{ command = \"exit 7\" }}]\n"));
    deploy(&project).exits(5).says(&["stopped old-web-1", "exit code 7", "everything was put back"]);
    assert_eq!((how(&one, "api-1"), how(&two, "old-web-1")), before);

    project.playbook(EXAMPLE);
    let words = ["taken over on server1, and kept, stopped: api-1", "taken over on server2, and kept, stopped: old-web-1"];
    deploy(&project).exits(0).says(&words).says_not(&["no answer for"]);
    is(&project, "api", "RUNNING", "primary", "2.0");
    for (server, name) in [(&one, "api-1"), (&two, "old-web-1")] {
        assert!(how(server, name).ends_with(" exited no:0"), "{}", how(server, name));
        server.must("touch /tmp/enough; n=0; until [ -s /tmp/client ] || [ $n -ge 50 ]; do sleep 0.1; n=$((n + 1)); done");
        assert_eq!(server.run("cat /tmp/client").trim(), "asked often, failed 0, by 1.0 and 2.0", "{}", server.name);
    }
    deploy(&project).exits(0).says(&["nothing to do"]).says_not(&["api-1"]);
    project.flipside(&["adopt"]).exits(0).says(&["Flipside runs it already"]);
    project.flipside(&["rollback", "-y"]).exits(3).says(&["What it took over is no release"]);
}

#[test]
fn what_holds_a_port_and_what_keeps_data_is_taken_over_with_a_gap_that_is_told() {
    let fleet = Fleet::take();
    let (one, two, three) = (fleet.server(1), fleet.server(2), fleet.server(3));
    one.must("docker run -d --name store_1 --restart unless-stopped -p 80:8000 -v old_data:/data flipside/app:1.0");
    two.must("docker run -d --name site_1 --restart always -p 80:8000 -p 5900:8000 flipside/app:1.0");
    three.must("docker run -d --name plain_1 --restart always -p 9100:8000 flipside/app:1.0");
    let old = [(&one, "store_1"), (&two, "site_1"), (&three, "plain_1")];
    let all = || old.map(|(server, name)| how(server, name));
    let before = all();
    let api = |service: &str, server: &str, host: &str, tag: &str, more: &str| {
        api_on(1, tag, more)
            .replace("servers_count = 1", &format!("servers = [\"{server}\"]"))
            .replace("[services.api]", &format!("[services.{service}]"))
            .replace(HOST, host)
    };
    let plain = "adopt = \"plain_1\"\nhost_port = 9100";
    let playbook = |tag: &str, store: &str, site: &str| {
        let [site, plain] = [("site", "server2", SITE, site), ("plain", "server3", PLAIN, plain)]
            .map(|(service, server, host, more)| api(service, server, host, tag, more));
        header(tag) + &api("store", "server1", HOST, tag, store) + &site + &plain
    };
    let project = Project::new(&fleet, &playbook("2.0", "volumes = [\"data:/data\"]", ""));
    assert_eq!(one.get(HOST, "/append?path=/data/log&text=one").0, 200);
    let has_its_data = |output: &Output| assert_eq!(one.get(HOST, "/file?path=/data/log"), (200, "one\n".to_owned()), "{}", output.all());

    // Data that would not come along is named, and refused.
    let (volumes, store, site) = ("volumes = [\"old_data:/data:external\"]", "adopt = \"store_1\"", "adopt = \"site_1\"");
    let needs_it = "plain_1 is taken over, and its new containers need port 9100: it stops before the new side starts";
    project.flipside(&["adopt"]).exits(0).says(&[volumes, store, site, "port 80, which NGINX needs", needs_it]);
    let site = format!("{site}\ninternal_port = 5900");
    let site = site.as_str();
    project.playbook(&playbook("2.0", &format!("{store}\nvolumes = [\"data:/data\"]"), site));
    deploy(&project).exits(3).says(&["store_1 keeps data at /data (old_data)", "the data would not come along"]);
    project.playbook(&playbook("2.0", &format!("{store}\nvolumes = [\"no_data:/data:external\"]"), site));
    deploy(&project).exits(3).says(&["its external volume no_data is not there"]);

    // A release of the store that never is well: it has its volume and its port back.
    let store = format!("{store}\n{volumes}");
    let broken = playbook("2.0", &store, site).replacen("app:2.0", "app:3.0-unhealthy", 1).replacen("8s", "4s", 1);
    project.playbook(&broken);
    let of_plain = || {
        let three = three.clone();
        // The old one at its port, the new one through NGINX.
        Client::asking(move || three.get_at(9100, PLAIN, "/").1.starts_with("1.0 ") || three.get(PLAIN, "/").1.starts_with("2.0 "))
    };
    let clients = (Client::of(&one, HOST, "/"), of_plain());
    let output = deploy(&project).exits(5).says(&["everything was put back", "no answer for"]);
    clients.0.judges(&output, "store");
    clients.1.judges(&output, "plain");
    has_its_data(&output);
    assert_eq!(all(), before);

    // And one that fails when all is done: NGINX gives port 80 back.
    project.playbook(&(playbook("2.0", &store, site) + "\n[hooks]\nafter_deploy = [{ command = \"exit 7\" }]\n"));
    let output = deploy(&project).exits(5).says(&["everything was put back"]);
    has_its_data(&output);
    assert_eq!(all(), before);
    let version = |(status, body): (u16, String)| if status == 200 { body.chars().take(3).collect() } else { String::new() };
    let versions = || [two.get(SITE, "/"), two.get_at(5900, SITE, "/"), three.get_at(9100, PLAIN, "/")].map(version);
    assert_eq!(versions(), ["1.0"; 3]);

    project.playbook(&playbook("2.0", &store, site));
    let clients = [(Client::of(&one, HOST, "/"), "store"), (Client::of(&two, SITE, "/"), "site"), (of_plain(), "plain")];
    let output =
        deploy(&project).exits(0).says(&["store_1", "site_1", "port 5900, which the host's door needs", needs_it, "no answer for"]);
    for (client, service) in clients {
        client.judges(&output, service);
    }
    has_its_data(&output);
    // Other machines do not reach the door of the host, and its own processes do.
    assert_eq!(versions(), ["2.0", "", "2.0"]);
    let asks = "exec 3<>/dev/tcp/127.0.0.1/5900; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; tail -n 1 <&3";
    assert!(two.must(asks).starts_with("2.0 "), "{}", output.all());
    for (server, name) in old {
        assert!(how(server, name).ends_with(" exited no:0"), "{}", how(server, name));
    }
    deploy(&project).exits(0).says(&["nothing to do"]);
}
