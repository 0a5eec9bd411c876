//! The environment: the one place that reads it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use runpack_core::store::s3::Secret;

use crate::failure::Failure;

/// What the environment says. A variable that is set to nothing counts as not set.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Environment {
    /// `RUNPACK_TENANT`
    pub tenant: Option<OsString>,
    /// `RUNPACK_NAMESPACE`
    pub namespace: Option<OsString>,
    /// `RUNPACK_STORE_ROOT`
    pub store_root: Option<OsString>,
    /// `RUNPACK_STORE_ENDPOINT`
    pub store_endpoint: Option<OsString>,
    /// `RUNPACK_STORE_BUCKET`
    pub store_bucket: Option<OsString>,
    /// `RUNPACK_STORE_REGION`
    pub store_region: Option<OsString>,
    /// `RUNPACK_STORE_PATH_PREFIX`
    pub store_path_prefix: Option<OsString>,
    /// `RUNPACK_STORE_ACCESS_KEY`, `RUNPACK_STORE_SECRET_KEY`, `RUNPACK_STORE_SESSION_TOKEN`
    pub store_keys: KeyVariables,
    /// `RUNPACK_FROM_ACCESS_KEY`, `RUNPACK_FROM_SECRET_KEY`, `RUNPACK_FROM_SESSION_TOKEN`: for the store that a mirror
    /// copies from, where it is at another service.
    pub from_keys: KeyVariables,
    /// `RUNPACK_REGION_{NAME}_ACCESS_KEY` and so on, by `{NAME}`: for regions that have credentials of their own.
    pub region_keys: BTreeMap<String, KeyVariables>,
    /// `RUNPACK_STATE_DIR`
    pub state_dir: Option<OsString>,
    /// `MAX_RUNPACK_ARTIFACT_BYTES`
    pub artifact_bytes_max: Option<OsString>,
    /// `XDG_STATE_HOME`
    pub xdg_state_home: Option<OsString>,
    /// `HOME`
    pub home: Option<OsString>,
    /// `RUNPACK_KEY_PASSPHRASE`: what opens an encrypted private key.
    pub key_passphrase: Option<Credential>,
    /// `RUNPACK_TOKEN`: what a server knows us by.
    pub token: Option<Credential>,
    /// `RUNPACK_CATALOG`: where the catalog is, which may hold a password.
    pub catalog: Option<Credential>,
    /// `USER`, else `LOGNAME`: who acts, as this machine says.
    pub user: Option<OsString>,
    /// Whether `NO_COLOR` is set (no-color.org).
    pub no_color: bool,
    /// Whether `TERM` says that the terminal can do nothing.
    pub dumb_terminal: bool,
}

/// A part of what signs requests: no debug print shows it (threat K01).
#[derive(Clone)]
pub struct Credential(String);

impl Credential {
    /// For whoever signs.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The same, for the core.
    pub(crate) fn to_secret(&self) -> Secret {
        Secret::new(&self.0)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

/// The variables that hold what signs requests to one service.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KeyVariables {
    /// The access key.
    pub access: KeyVariable,
    /// The secret key.
    pub secret: KeyVariable,
    /// The token of a session.
    pub token: KeyVariable,
}

/// A variable that holds a credential.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KeyVariable {
    /// The variable.
    pub name: Cow<'static, str>,
    /// What it holds, if it is set.
    pub value: Option<Credential>,
}

impl Default for KeyVariables {
    fn default() -> Self {
        Self::read(STORE_KEYS.map(Cow::Borrowed), |_| None)
    }
}

const STORE_KEYS: [&str; 3] = [
    "RUNPACK_STORE_ACCESS_KEY",
    "RUNPACK_STORE_SECRET_KEY",
    "RUNPACK_STORE_SESSION_TOKEN",
];
/// What a variable of a region begins with, and what it ends with.
const REGION_KEYS: &str = "RUNPACK_REGION_";
const REGION_KEY_ENDS: [&str; 3] = ["_ACCESS_KEY", "_SECRET_KEY", "_SESSION_TOKEN"];
const FROM_KEYS: [&str; 3] = [
    "RUNPACK_FROM_ACCESS_KEY",
    "RUNPACK_FROM_SECRET_KEY",
    "RUNPACK_FROM_SESSION_TOKEN",
];

impl KeyVariables {
    fn read(
        [access, secret, token]: [Cow<'static, str>; 3],
        read: impl Fn(&str) -> Option<Credential>,
    ) -> Self {
        let variable = |name: Cow<'static, str>| KeyVariable {
            value: read(&name),
            name,
        };
        Self {
            access: variable(access),
            secret: variable(secret),
            token: variable(token),
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> [&KeyVariable; 3] {
        [&self.access, &self.secret, &self.token]
    }
}

/// The region whose credential a variable holds, as it is spelled there.
fn region_of(variable: &str) -> Option<&str> {
    let rest = variable.strip_prefix(REGION_KEYS)?;
    REGION_KEY_ENDS
        .iter()
        .find_map(|end| rest.strip_suffix(end))
        .filter(|name| !name.is_empty())
}

impl Environment {
    /// Reads the variables.
    pub fn read() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one place that reads the environment"
        )]
        let (read, names) = (
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()),
            std::env::vars_os().map(|(name, _)| name),
        );
        let credential = |name: &str| {
            read(name).map(|value| Credential(value.to_string_lossy().trim().to_owned()))
        };
        let regions = names.filter_map(|name| region_of(name.to_str()?).map(str::to_owned));
        let region_keys = |name: String| {
            let keys = REGION_KEY_ENDS.map(|end| Cow::Owned(format!("{REGION_KEYS}{name}{end}")));
            let keys = KeyVariables::read(keys, credential);
            (name, keys)
        };
        Self {
            tenant: read("RUNPACK_TENANT"),
            namespace: read("RUNPACK_NAMESPACE"),
            store_root: read("RUNPACK_STORE_ROOT"),
            store_endpoint: read("RUNPACK_STORE_ENDPOINT"),
            store_bucket: read("RUNPACK_STORE_BUCKET"),
            store_region: read("RUNPACK_STORE_REGION"),
            store_path_prefix: read("RUNPACK_STORE_PATH_PREFIX"),
            store_keys: KeyVariables::read(STORE_KEYS.map(Cow::Borrowed), credential),
            from_keys: KeyVariables::read(FROM_KEYS.map(Cow::Borrowed), credential),
            region_keys: regions.map(region_keys).collect(),
            state_dir: read("RUNPACK_STATE_DIR"),
            artifact_bytes_max: read("MAX_RUNPACK_ARTIFACT_BYTES"),
            xdg_state_home: read("XDG_STATE_HOME"),
            home: read("HOME"),
            key_passphrase: credential("RUNPACK_KEY_PASSPHRASE"),
            token: credential("RUNPACK_TOKEN"),
            catalog: credential("RUNPACK_CATALOG"),
            user: read("USER").or_else(|| read("LOGNAME")),
            no_color: read("NO_COLOR").is_some(),
            dumb_terminal: read("TERM").is_some_and(|term| term == "dumb"),
        }
    }

    /// Where receipts are kept: `receipts` in [`Environment::state`].
    ///
    /// # Errors
    /// As there.
    pub fn receipts(&self) -> Result<PathBuf, Failure> {
        Ok(self.state()?.join("receipts"))
    }

    /// Where this machine keeps what it knows: `RUNPACK_STATE_DIR`, else `$XDG_STATE_HOME/runpack`, else
    /// `~/.local/state/runpack`.
    ///
    /// # Errors
    /// None of the three is known.
    pub fn state(&self) -> Result<PathBuf, Failure> {
        // A relative XDG path is invalid and to be ignored (XDG Base Directory Specification).
        let xdg = self.xdg_state_home.as_ref().map(PathBuf::from);
        Ok(
            match (
                &self.state_dir,
                xdg.filter(|path| path.is_absolute()),
                &self.home,
            ) {
                (Some(state), _, _) => PathBuf::from(state),
                (None, Some(xdg), _) => xdg.join("runpack"),
                (None, None, Some(home)) => PathBuf::from(home).join(".local/state/runpack"),
                (None, None, None) => {
                    return Err(Failure::new(
                        "there is no place for receipts: neither RUNPACK_STATE_DIR nor XDG_STATE_HOME nor HOME is set",
                        "set RUNPACK_STATE_DIR to a directory that is yours, or verify with --no-receipts",
                    ));
                }
            },
        )
    }
}
