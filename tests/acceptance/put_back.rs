//! Releases that are broken: the old one goes on serving, the reason is told, and the new side is out of the way.
use crate::fleet::Fleet;
use crate::project::Project;
use crate::shop::{api_on, deploy, header, is, service_echo, shop};
use crate::traffic::Traffic;

/// `api` with a deadline for what never gets well.
fn soon(playbook: &str) -> String {
    playbook.replace("deadline = \"8s\"", "deadline = \"4s\"")
}

#[test]
fn a_broken_release_is_put_back_and_its_reason_told() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let project = Project::new(&fleet, &(header("1.0") + &api_on(3, "1.0", "")));
    deploy(&project).exits(0);
    let traffic = Traffic::http(&servers);

    let cases: [(&str, &[&str]); 4] = [
        // The container's own words, its exit code, and the container that is kept to look at.
        (
            "3.0-exit",
            &[
                "exits again and again",
                "exit code",
                "configuration key DATABASE_URL is missing",
                "docker logs shop_prod_api_secondary.failed",
            ],
        ),
        ("3.0-unhealthy", &["GET /up", "503"]),
        ("3.0-wrong-port", &["GET /up", "port 8000 refuses connections"]),
        ("no-such-tag", &["flipside/app:no-such-tag"]),
    ];
    for (tag, reasons) in cases {
        traffic.phase(tag);
        project.playbook(&soon(&(header(tag) + &api_on(3, tag, ""))));
        deploy(&project).exits(5).says(reasons).says(&["everything was put back", "as before the run: api 1.0"]);
        is(&project, "api", "RUNNING", "primary", "1.0");
        for server in &servers {
            assert_eq!(server.running("shop_prod_api"), ["shop_prod_api"], "after {tag} on {}", server.name);
        }
    }

    // What was put back can be deployed over, without any clearing up; here with a health check that the old version does not pass.
    traffic.phase("2.0");
    let mounted = "secrets = [\"new\"]\n\n[secrets]\nnew = { env = \"NEW\" }";
    project.variable("NEW", "anything");
    project.playbook(&(header("2.0") + &api_on(3, "2.0", mounted)).replace("/up", "/file?path=/run/secrets/new"));
    deploy(&project).exits(0);
    is(&project, "api", "RUNNING", "secondary", "2.0");
    // The way back asks the old containers as they were asked when they were deployed.
    project.flipside(&["rollback", "-y"]).exits(0);
    is(&project, "api", "RUNNING", "primary", "1.0");
    traffic.end().none_failed().versions(&["1.0", "2.0"]).only("3.0-exit", "1.0").only("3.0-unhealthy", "1.0");
}

#[test]
fn when_one_of_two_services_fails_both_are_put_back_and_dependants_do_not_start() {
    let fleet = Fleet::take();
    let servers = fleet.servers();
    let project = Project::new(&fleet, &shop("1.0", "1.0"));
    deploy(&project).exits(0);
    let (internal, ..) = crate::shop::ports(&project, "echo");
    let traffic = Traffic::http(&servers).and_inside(&servers[1], &[format!("tcp:127.0.0.1:{internal}")]);

    // `echo` is switched to 2.0 on every server before `api`, which uses it, starts and fails.
    project.playbook(&soon(&shop("3.0-unhealthy", "2.0")));
    deploy(&project).exits(5).says(&["== switch echo", "undo switch echo"]).says_not(&["== switch api"]);
    is(&project, "api", "RUNNING", "primary", "1.0");
    is(&project, "echo", "RUNNING", "primary", "1.0");

    // `echo` fails, so `api` is not even started.
    project.playbook(&soon(&shop("2.0", "3.0-exit")));
    deploy(&project).exits(5).says(&["shop_prod_echo_secondary"]).says_not(&["== start api", "started shop_prod_api"]);
    is(&project, "api", "RUNNING", "primary", "1.0");
    is(&project, "echo", "RUNNING", "primary", "1.0");

    let seen = traffic.end().none_failed();
    for target in &seen.0.targets {
        let inside = target.target.starts_with("tcp:");
        assert!(inside || target.total.answers.keys().eq(["1.0"]), "{target:#?}");
    }
}

#[test]
fn a_first_deploy_that_fails_leaves_nothing_running() {
    let fleet = Fleet::take();
    let project = Project::new(&fleet, &(header("3.0") + &api_on(2, "3.0-broken", "uses = [\"echo\"]") + &service_echo("1.0")));
    deploy(&project).exits(5).says(&["everything was put back", "DATABASE_URL is missing"]);
    for server in fleet.servers() {
        assert_eq!(server.running("shop_"), Vec::<String>::new(), "on {}", server.name);
    }
    // And it is no obstacle to the next.
    project.playbook(&(header("1.0") + &api_on(2, "1.0", "uses = [\"echo\"]") + &service_echo("1.0")));
    deploy(&project).exits(0);
    is(&project, "api", "RUNNING", "primary", "1.0");
}
