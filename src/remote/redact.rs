//! Everything that is told of an action, without the values of secrets: what comes out of here is shown and journaled.
//! Deliberately absent: knowing the values, which `model` does.
use super::perform::Update;
use crate::model::{Failure, Outcome, Redactor};

/// The update, with every value masked.
pub(super) fn update(redactor: &Redactor, update: Update) -> Update {
    match update {
        Update::Begun(id) => Update::Begun(id),
        Update::Chatter(id, text) => Update::Chatter(id, redactor.redact(&text)),
        Update::Ended(id, outcome) => Update::Ended(
            id,
            match outcome {
                Outcome::Done { seen } => Outcome::Done { seen: redactor.redact(&seen) },
                Outcome::Failed(found) => Outcome::Failed(failure(redactor, found)),
                Outcome::Unknown(found) => Outcome::Unknown(failure(redactor, found)),
                Outcome::NotReached => Outcome::NotReached,
            },
        ),
    }
}

/// The failure, with every value masked.
pub(super) fn failure(redactor: &Redactor, failure: Failure) -> Failure {
    let all = |texts: Vec<String>| texts.iter().map(|text| redactor.redact(text)).collect();
    Failure {
        seen: redactor.redact(&failure.seen),
        wanted: redactor.redact(&failure.wanted),
        causes: all(failure.causes),
        exit: failure.exit,
        tail: all(failure.tail),
        hint: redactor.redact(&failure.hint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Secret, ServerName, StepId};

    #[test]
    fn no_field_of_an_update_keeps_a_value() {
        let value = "hunter2";
        let redactor = Redactor::new(&[Secret::new(value.as_bytes().to_vec())]);
        let text = || format!("so: {value}");
        let found = Failure { seen: text(), wanted: text(), causes: vec![text()], exit: Some(3), tail: vec![text(), text()], hint: text() };
        let id = || StepId { wave: 0, server: ServerName::new("s1").unwrap(), index: 0 };
        for seen in [
            Update::Chatter(id(), text()),
            Update::Ended(id(), Outcome::Done { seen: text() }),
            Update::Ended(id(), Outcome::Failed(found.clone())),
            Update::Ended(id(), Outcome::Unknown(found)),
        ] {
            let shown = format!("{:?}", update(&redactor, seen));
            assert!(!shown.contains(value) && shown.contains("so: [secret]"), "{shown}");
        }
    }
}
