//! Settings as a person or program reads them: key, value, origin.

use runpack_core::store::s3::{Addressing, CreateOnly, Encryption, PlainHttp};

use super::{Origin, Setting, Settings};
use crate::context::Context;
use crate::environment::KeyVariables;
use crate::failure::Failure;

/// One line of `runpack config show`.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) key: &'static str,
    /// `None` where it is not set.
    pub(crate) value: Option<String>,
    pub(crate) origin: Origin,
}

fn shown<T>(
    key: &'static str,
    setting: &Setting<T>,
    show: impl FnOnce(&T) -> Option<String>,
) -> Shown {
    Shown {
        key,
        value: show(&setting.value),
        origin: setting.origin.clone(),
    }
}

#[expect(
    clippy::ref_option,
    reason = "it is given a reference to the value of a setting, which may be an option"
)]
fn text<T: ToString>(value: &Option<T>) -> Option<String> {
    value.as_ref().map(ToString::to_string)
}

impl Settings {
    /// Every setting, in the order of the file.
    pub(crate) fn shown(&self, context: &Context) -> Result<Vec<Shown>, Failure> {
        let mut all = identity(context)?;
        let flag = |value: &bool| Some(value.to_string());
        all.extend([
            shown("runpacks.store", &self.store, |kind| {
                Some(kind.as_str().to_owned())
            }),
            shown("runpacks.auto_push", &self.auto_push, flag),
            shown("runpacks.verify_on_push", &self.verify_on_push, flag),
            shown("runpacks.file.root", &self.file_root, |root| {
                Some(root.display().to_string())
            }),
            shown("runpacks.s3.endpoint", &self.endpoint, text),
            shown("runpacks.s3.bucket", &self.bucket, text),
            shown("runpacks.s3.region", &self.region, text),
            shown("runpacks.s3.path_prefix", &self.path_prefix, |prefix| {
                Some(prefix.as_str().to_owned()).filter(|prefix| !prefix.is_empty())
            }),
            shown("runpacks.s3.path_style", &self.path_style, |how| {
                let how = match how {
                    Addressing::Automatic => "automatic",
                    Addressing::Path => "true",
                    Addressing::VirtualHost => "false",
                };
                Some(how.to_owned())
            }),
            shown("runpacks.s3.sse", &self.sse, |sse| {
                Some(match sse {
                    Encryption::OfBucket => "bucket".to_owned(),
                    Encryption::SseS3 => "AES256".to_owned(),
                    Encryption::SseKms(_) => "aws:kms".to_owned(),
                })
            }),
            shown("runpacks.s3.sse_kms_key", &self.sse, |sse| match sse {
                Encryption::SseKms(key) => key.clone(),
                Encryption::OfBucket | Encryption::SseS3 => None,
            }),
            shown("runpacks.s3.expected_owner", &self.expected_owner, text),
            shown("runpacks.s3.ca_file", &self.ca_file, |path| {
                path.as_ref().map(|path| path.display().to_string())
            }),
            shown(
                "runpacks.s3.allow_plain_http",
                &self.allow_plain_http,
                |how| Some((*how == PlainHttp::DangerouslyAnywhere).to_string()),
            ),
            shown("runpacks.s3.create_only", &self.create_only, |how| {
                let how = match how {
                    None => "as measured",
                    Some(CreateOnly::Conditional) => "conditional",
                    Some(CreateOnly::OldestVersion) => "oldest-version",
                    Some(CreateOnly::DangerouslyCheckFirst) => "dangerously-check-first",
                };
                Some(how.to_owned())
            }),
            shown("runpacks.s3.object_lock", &self.object_lock, text),
            shown("runpacks.policy", &self.policy, text),
            shown("runpacks.retention", &self.retention, |policies| {
                let policies = policies.as_ref()?;
                let names = policies.policies().iter();
                let names: Vec<_> = names.map(|policy| policy.name().as_str()).collect();
                Some(format!(
                    "{} (sha256:{})",
                    names.join(", "),
                    policies.digest()
                ))
            }),
        ]);
        if let Some(regions) = &self.regions {
            all.push(Shown {
                key: "runpacks.regions",
                value: Some(regions.to_string()),
                origin: Origin::File(regions.path.clone()),
            });
        }
        all.extend(credentials(context));
        all.extend(elsewhere(context)?);
        Ok(all)
    }
}

fn identity(context: &Context) -> Result<Vec<Shown>, Failure> {
    let (config, environment) = (context.config()?, &context.environment);
    let one = |key, variable: Option<(&'static str, &std::ffi::OsString)>, file: Option<&str>| {
        let (value, origin) = match (variable, file, &config.path) {
            (Some((name, value)), _, _) => (
                Some(value.to_string_lossy().into_owned()),
                Origin::Environment(name.into()),
            ),
            (None, Some(value), Some(path)) => (Some(value.to_owned()), Origin::File(path.clone())),
            _ => (None, Origin::Default),
        };
        Shown { key, value, origin }
    };
    let tenant = environment.tenant.as_ref();
    let namespace = environment.namespace.as_ref();
    Ok(vec![
        one(
            "tenant",
            tenant.map(|tenant| ("RUNPACK_TENANT", tenant)),
            config.tenant.as_deref(),
        ),
        one(
            "namespace",
            namespace.map(|namespace| ("RUNPACK_NAMESPACE", namespace)),
            config.namespace.as_deref(),
        ),
        one("scenario", None, config.scenario.as_deref()),
    ])
}

/// Who signs: whether something is set, and never what.
fn credentials(context: &Context) -> Vec<Shown> {
    let environment = &context.environment;
    let show = |keys: &KeyVariables, members: [&'static str; 3]| -> Vec<Shown> {
        let variables = members.into_iter().zip(keys.all());
        let set = variables.filter(|(_, variable)| variable.value.is_some());
        set.map(|(key, variable)| Shown {
            key,
            value: Some("(set, not shown)".to_owned()),
            origin: Origin::Environment(variable.name.clone()),
        })
        .collect()
    };
    let mut shown = show(
        &environment.store_keys,
        ["access_key", "secret_key", "session_token"],
    );
    if shown.is_empty() {
        shown.push(Shown {
            key: "credentials",
            value: Some("the standard AWS chain".to_owned()),
            origin: Origin::Default,
        });
    }
    let from = ["from.access_key", "from.secret_key", "from.session_token"];
    shown.extend(show(&environment.from_keys, from));
    shown
}

/// What stands in no file.
fn elsewhere(context: &Context) -> Result<Vec<Shown>, Failure> {
    let environment = &context.environment;
    let limits = context.limits(&crate::limits::LimitOptions::default())?;
    let origin = |is_set: bool, name: &'static str| {
        if is_set {
            Origin::Environment(name.into())
        } else {
            Origin::Default
        }
    };
    let (state, name) = match (&environment.state_dir, &environment.xdg_state_home) {
        (Some(_), _) => (true, "RUNPACK_STATE_DIR"),
        (None, Some(_)) => (true, "XDG_STATE_HOME"),
        (None, None) => (false, ""),
    };
    Ok(vec![
        Shown {
            key: "receipts",
            value: environment
                .receipts()
                .ok()
                .map(|path| path.display().to_string()),
            origin: origin(state, name),
        },
        Shown {
            key: "max_artifact_bytes",
            value: Some(limits.artifact_bytes_max.to_string()),
            origin: origin(
                environment.artifact_bytes_max.is_some(),
                "MAX_RUNPACK_ARTIFACT_BYTES",
            ),
        },
    ])
}
