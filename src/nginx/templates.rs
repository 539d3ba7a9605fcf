//! The templates: the ones that are built in, and the user's own in their place. Deliberately absent: reading the user's folder.
use super::error::TemplateError;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

pub(super) const MAIN: &str = "nginx.conf.j2";
pub(super) const STREAM: &str = "stream_service.conf.j2";
pub(super) const HTTP: &str = "http_service.conf.j2";
pub(super) const HOSTS: &str = "hosts.conf.j2";
pub(super) const APP: &str = "app_port.conf.j2";
pub(super) const DOOR: &str = "door.conf.j2";
pub(super) const ALIAS: &str = "alias.conf.j2";

const BUILT_IN: [(&str, &str); 7] = [
    (MAIN, include_str!("../../templates/nginx.conf.j2")),
    (STREAM, include_str!("../../templates/stream_service.conf.j2")),
    (HTTP, include_str!("../../templates/http_service.conf.j2")),
    (HOSTS, include_str!("../../templates/hosts.conf.j2")),
    (APP, include_str!("../../templates/app_port.conf.j2")),
    (DOOR, include_str!("../../templates/door.conf.j2")),
    (ALIAS, include_str!("../../templates/alias.conf.j2")),
];

/// All templates, ready to render.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
    digest: String,
}

impl Templates {
    /// The built-in templates, with some of them replaced: file name (`http_service.conf.j2`) to text.
    ///
    /// # Errors
    /// [`TemplateError`] for a name that replaces nothing, and for a syntax error, with its line.
    pub fn new(overrides: &BTreeMap<String, String>) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        // Errors name what is undefined in a release build, too.
        environment.set_debug(true);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        let syntax = environment.syntax().to_builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build();
        environment.set_syntax(syntax.map_err(|error| TemplateError::from(&error))?);
        let mut hash = Sha256::new();
        for (name, text) in BUILT_IN {
            let text = overrides.get(name).map_or(text, String::as_str);
            hash.update(format!("{name} {}\n{text}", text.len()));
            environment.add_template_owned(name, text.to_owned()).map_err(|error| TemplateError::from(&error))?;
        }
        if let Some(name) = overrides.keys().find(|name| BUILT_IN.iter().all(|(known, _)| known != name)) {
            return Err(TemplateError::NoSuch { name: name.clone(), known: Self::names().join(", ") });
        }
        let digest = hash.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        Ok(Self { environment, digest })
    }

    /// 16 hex digits of the SHA-256 of all templates.
    #[must_use]
    pub fn digest(&self) -> String {
        self.digest.clone()
    }

    /// The file names that can be replaced.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        BUILT_IN.iter().map(|(name, _)| *name).collect()
    }

    pub(super) fn render(&self, name: &str, context: Value) -> Result<String, TemplateError> {
        let rendered = self.environment.get_template(name).and_then(|template| template.render(context));
        rendered.map_err(|error| TemplateError::from(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, text: &str) -> Result<Templates, TemplateError> {
        Templates::new(&BTreeMap::from([(name.to_owned(), text.to_owned())]))
    }

    #[test]
    fn a_name_that_replaces_nothing_is_refused() {
        let error = with("nginx.conf", "x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no template `nginx.conf` to replace; the templates are nginx.conf.j2, stream_service.conf.j2, http_service.conf.j2, hosts.conf.j2, app_port.conf.j2, door.conf.j2, alias.conf.j2"
        );
    }

    #[test]
    fn a_syntax_error_names_template_and_line() {
        let error = with(MAIN, "a\nb\n{% if %}\n").unwrap_err();
        assert!(matches!(&error, TemplateError::Broken { name, line: 3, .. } if name == MAIN), "{error}");
    }

    #[test]
    fn an_unknown_variable_is_an_error_not_an_empty_text() {
        let templates = with(MAIN, "one\n{{ nothing_like_this }}\n").unwrap();
        let error = templates.render(MAIN, minijinja::context! {}).unwrap_err();
        assert!(error.to_string().starts_with("template `nginx.conf.j2`, line 2: undefined value"), "{error}");
    }
}
