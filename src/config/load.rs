//! Where configuration comes from: defaults < file < environment < flags, and whom to blame.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use crate::config::{Config, Contradiction};

/// What the user said, before it is understood.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables; those named `CAMPANILE_<SECTION>__<KEY>` count.
    pub environment: Vec<(String, String)>,
    /// Flags, each `section.key=value`.
    pub flags: Vec<String>,
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// In this file.
    File(PathBuf),
    /// In this environment variable.
    Environment(String),
    /// In a `--set` flag.
    Flag,
}

/// Why a configuration is refused. One line that names the key and where it stands, and the value unless
/// it may be a secret: that of a key that is not known may always be one, whose name was misspelt.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration file {path} is not valid TOML: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        message: String,
    },
    /// A flag is not `section.key=value`; carries what stands before the value, and what would be right.
    #[error("--set {0}: expected {1}")]
    Flag(String, String),
    /// There is no such key.
    #[error("{key} ({origin}): unknown key; {known}")]
    Unknown {
        /// The key as written.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// What keys there are.
        known: String,
    },
    /// The value cannot be used.
    #[error("{key} = {value} ({origin}): {problem}")]
    Invalid {
        /// The key.
        key: String,
        /// The value as written.
        value: String,
        /// Where it stands.
        origin: Origin,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// A name that is longer than this is none.
const MAX_NAME: usize = 40;

/// Variables that configure the server start so.
const PREFIX: &str = "CAMPANILE_";

/// Reads, merges and checks a configuration.
///
/// # Errors
/// The first fault found, naming the key, the value and where it stands.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let mut layers = Layers::new();
    if let Some(path) = &sources.file {
        layers.add_file(path)?;
    }
    layers.add_environment(&sources.environment)?;
    for flag in &sources.flags {
        layers.add_flag(flag)?;
    }
    layers.into_config()
}

/// The values as written, later over earlier, with the origin of each.
struct Layers {
    /// The defaults: they tell which keys there are, and of what type.
    known: Table,
    merged: Table,
    origins: BTreeMap<String, Origin>,
}

impl Layers {
    fn new() -> Self {
        let known = Table::try_from(Config::default()).expect("the defaults are plain data");
        Self {
            known,
            merged: Table::new(),
            origins: BTreeMap::new(),
        }
    }

    fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let table: Table = text.parse().map_err(|e: toml::de::Error| {
            let line = e
                .span()
                .map_or(0, |s| text[..s.start].matches('\n').count() + 1);
            ConfigError::Syntax {
                path: path.to_owned(),
                message: format!("line {line}: {}", e.message()),
            }
        })?;
        let origin = Origin::File(path.to_owned());
        for (section, value) in table {
            let Value::Table(keys) = value else {
                return Err(self.unknown(&section, origin));
            };
            if !self.known.contains_key(&section) {
                return Err(self.unknown(&section, origin));
            }
            for (key, value) in keys {
                self.set(&section, &key, value, origin.clone())?;
            }
        }
        Ok(())
    }

    fn add_environment(&mut self, variables: &[(String, String)]) -> Result<(), ConfigError> {
        let mut ours = Vec::new();
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let rest = rest.to_ascii_lowercase();
            match rest.split_once("__") {
                Some((section, key)) => ours.push((name, section.to_owned(), key.to_owned(), text)),
                None => self.refuse_slip(name, &rest)?,
            }
        }
        ours.sort();
        for (name, section, key, text) in ours {
            let value = self.typed(&section, &key, text);
            self.set(&section, &key, value, Origin::Environment(name.clone()))?;
        }
        Ok(())
    }

    /// `CAMPANILE_HTTP_LISTEN`, with one underscore, is a slip; other variables with our prefix are
    /// somebody else's, such as those that orchestrators make up from a service's name.
    fn refuse_slip(&self, name: &str, rest: &str) -> Result<(), ConfigError> {
        let Some((section, key)) = self.meant(rest) else {
            return Ok(());
        };
        let right = format!("{PREFIX}{section}__{key}").to_ascii_uppercase();
        Err(ConfigError::Unknown {
            key: format!("{section}_{key}"),
            origin: Origin::Environment(name.to_owned()),
            known: format!("write {right}, with two underscores"),
        })
    }

    /// The section and the key that a name with one underscore in the place of the dot means.
    fn meant<'n>(&self, name: &'n str) -> Option<(&'n str, &'n str)> {
        let (section, key) = name.split_once('_')?;
        self.known.get(section)?.get(key)?;
        Some((section, key))
    }

    fn add_flag(&mut self, flag: &str) -> Result<(), ConfigError> {
        let malformed = || self.malformed(flag);
        let (path, text) = flag.split_once('=').ok_or_else(malformed)?;
        let (section, key) = path.trim().split_once('.').ok_or_else(malformed)?;
        let value = self.typed(section, key, text);
        self.set(section, key, value, Origin::Flag)
    }

    /// Shows no value, and of the rest only what looks like a name: a key alone may be a secret, too.
    fn malformed(&self, flag: &str) -> ConfigError {
        let is_part = |c: char| c.is_ascii_alphabetic() || matches!(c, '.' | '_' | '-');
        let length = flag.find(|c| !is_part(c)).unwrap_or(flag.len());
        let (name, value) = flag.split_at(length);
        let begins = |section: &String| name.starts_with(section.as_str());
        let is_name = value.starts_with('=') || self.known.keys().any(begins);
        let shown = match (is_name && length <= MAX_NAME, value.is_empty()) {
            (true, true) => name.to_owned(),
            (true, false) => format!("{name}{}***", &value[..usize::from(value.starts_with('='))]),
            (false, _) => "***".to_owned(),
        };
        let right = match self.meant(name) {
            Some((section, key)) => format!("{section}.{key}=value"),
            None => "section.key=value, as --set http.listen=127.0.0.1:2121".to_owned(),
        };
        ConfigError::Flag(shown, right)
    }

    /// A text from the environment or a flag: taken as it is where a text is due, read as TOML
    /// where it is not (`true`, `512`, `["a", "b"]`; a list also as `a,b`).
    fn typed(&self, section: &str, key: &str, text: &str) -> Value {
        match self.known.get(section).and_then(|s| s.get(key)) {
            Some(Value::String(_)) => return Value::String(text.to_owned()),
            // Quotes within quotes are hard to write in a shell.
            Some(Value::Array(_)) if !text.trim_start().starts_with(['[', '{']) => {
                let items = text
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty());
                return Value::Array(items.map(|item| item.to_owned().into()).collect());
            }
            _ => {}
        }
        let document: Result<Table, _> = format!("value = {text}").parse();
        document
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| Value::String(text.to_owned()))
    }

    fn set(
        &mut self,
        section: &str,
        key: &str,
        value: Value,
        origin: Origin,
    ) -> Result<(), ConfigError> {
        let path = format!("{section}.{key}");
        let known = self.known.get(section).and_then(|s| s.get(key));
        if known.is_none() {
            return Err(self.unknown(&path, origin));
        }
        let keys = self
            .merged
            .entry(section)
            .or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(keys) = keys {
            keys.insert(key.to_owned(), value);
        }
        self.origins.insert(path, origin);
        Ok(())
    }

    fn unknown(&self, path: &str, origin: Origin) -> ConfigError {
        let section = path.split('.').next().unwrap_or_default();
        let list = |table: &Table| table.keys().cloned().collect::<Vec<_>>().join(", ");
        let known = match self.known.get(section) {
            Some(Value::Table(keys)) => format!("[{section}] has {}", list(keys)),
            _ => format!("the sections are {}", list(&self.known)),
        };
        ConfigError::Unknown {
            key: path.to_owned(),
            origin,
            known,
        }
    }

    fn into_config(self) -> Result<Config, ConfigError> {
        let merged = Value::Table(self.merged.clone());
        let config: Config = serde_path_to_error::deserialize(merged).map_err(|e| {
            let key = e.path().to_string();
            // An element of a list is reported as `section.key[1]`.
            let key = key.split('[').next().unwrap_or_default().to_owned();
            self.invalid(&key, e.inner().message())
        })?;
        match config.validate() {
            Ok(()) => Ok(config),
            Err(Contradiction { key, problem }) => Err(self.invalid(&key, &problem)),
        }
    }

    fn invalid(&self, key: &str, problem: &str) -> ConfigError {
        let find = |table: &Table| {
            let (section, key) = key.split_once('.')?;
            table.get(section)?.get(key).map(Value::to_string)
        };
        let written = find(&self.merged).or_else(|| find(&self.known));
        ConfigError::Invalid {
            key: key.to_owned(),
            value: shown(key, written.unwrap_or_default()),
            origin: self.origins.get(key).cloned().unwrap_or(Origin::Default),
            problem: told(key, problem).trim().to_owned(),
        }
    }
}

/// What an error shows of a value: a secret, or what may be one, it does not.
fn shown(key: &str, value: String) -> String {
    if is_hidden(key) {
        return "***".to_owned();
    }
    value
}

/// What an error says is wrong. Where the value is of the wrong type, that quotes it.
fn told<'p>(key: &str, problem: &'p str) -> &'p str {
    let quotes = problem.starts_with("invalid type") || problem.starts_with("invalid value");
    match problem.rfind("expected") {
        Some(expected) if quotes && is_hidden(key) => &problem[expected..],
        _ => problem,
    }
}

fn is_hidden(key: &str) -> bool {
    if key == "api.keys" {
        return true;
    }
    let key = key.rsplit('.').next().unwrap_or_default();
    let hides = ["secret", "url", "password", "token", "jwt_keys"];
    hides.iter().any(|word| key.contains(word))
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File(path) => write!(f, "in {}", path.display()),
            Self::Environment(name) => write!(f, "from the environment variable {name}"),
            Self::Flag => f.write_str("from --set"),
        }
    }
}

/// An example or a whole configuration as text, read strictly.
///
/// # Errors
/// What TOML or a key's type says.
pub fn parse(text: &str) -> Result<Config, toml::de::Error> {
    Config::deserialize(toml::Deserializer::parse(text)?)
}
