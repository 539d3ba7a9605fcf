//! The text of a plan: whole, with commands and undo, and where there is nothing to do.
use super::*;

fn view<'a>(findings: &'a [Finding], nginx: &'a BTreeMap<ServerName, flipside::plan::NginxFiles>) -> View<'a> {
    View { paint: Paint::Plain, findings, undo: false, commands: None, nginx }
}

#[test]
fn plan_text() {
    golden("plan.txt", &show(&plan(), &view(&findings(), &nginx())));
}

#[test]
fn plan_text_with_commands_and_undo() {
    let (none, no_files) = (Vec::new(), BTreeMap::new());
    let view = View { undo: true, commands: Some(&commands), ..view(&none, &no_files) };
    golden("plan.commands.txt", &show(&plan(), &view));
}

#[test]
fn plan_text_when_there_is_nothing_to_do_or_it_cannot_be_done() {
    let mut plan = plan();
    plan.waves.clear();
    plan.services.values_mut().for_each(|service| {
        service.change = Change::Keep;
        "unchanged".clone_into(&mut service.reason);
        service.to = service.from;
        service.to_version.clone_from(&service.from_version);
    });
    plan.services.remove(&service("worker"));
    let (none, no_files) = (Vec::new(), BTreeMap::new());
    golden("plan.nothing.txt", &show(&plan, &view(&none, &no_files)));
    let (stderr, stdout) = replay(Style::Lines, Paint::Plain, &plan, &[], &Ledger::default());
    golden("nothing.lines.txt", &format!("{stderr}--- stdout\n{stdout}"));
    let fatal = vec![Finding {
        level: Level::Fatal,
        server: Some(server("lon1-a")),
        service: None,
        text: "port 18123 is taken by a stranger (pid 812, sshd)".to_owned(),
        hint: "stop it, or pin `host_port` of api".to_owned(),
    }];
    let text = show(&plan, &view(&fatal, &no_files));
    assert!(text.contains("  fatal    lon1-a: port 18123") && text.ends_with("This plan cannot be run: 1 fatal finding.\n"), "{text}");
}
