//! The effective settings: flags over environment over `runpack.yaml` over defaults, each with where it
//! comes from. Invariant: no secret is shown, only whether there is one (threat K01).

#![expect(
    clippy::doc_markdown,
    reason = "the comments on arguments are help texts, which are shown as they are written"
)]

mod layers;
mod shown;

use layers::{Layers, parse};
pub use layers::{Origin, Setting};
pub(crate) use shown::Shown;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use runpack_core::retention::RetentionPolicies;
use runpack_core::routing::Owner;
use runpack_core::store::s3::{
    Addressing, BucketName, CreateOnly, Credentials, Encryption, Endpoint, PathPrefix, PlainHttp,
    S3Settings,
};

use crate::config::{Config, StoreKind, check_region};
use crate::context::Context;
use crate::environment::{Credential, Environment, KeyVariable, KeyVariables};
use crate::failure::Failure;
use crate::file;
use crate::regions::{Region, RegionName, RegionPlace, Regions};
use crate::storage::{BucketAddress, StoreAddress};

/// The store where nothing names another.
pub const STORE_DEFAULT: &str = "runpacks";
/// The largest file of certificates that is read.
const CA_BYTES_MAX: u64 = 4 << 20;

/// How to reach the service of a bucket.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServiceOptions {
    /// Where the service of a bucket is, https://HOST[:PORT] [env: RUNPACK_STORE_ENDPOINT]
    #[arg(long, global = true, value_name = "URL", display_order = 902)]
    endpoint: Option<Endpoint>,
    /// The region of a bucket [env: RUNPACK_STORE_REGION]
    #[arg(long, global = true, value_name = "REGION", display_order = 903, value_parser = parse_region)]
    region: Option<String>,
}

fn parse_region(text: &str) -> Result<String, String> {
    check_region(text).map_err(str::to_owned)?;
    Ok(text.to_owned())
}

/// All of them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `runpacks.store`
    pub store: Setting<StoreKind>,
    /// `runpacks.file.root`
    pub file_root: Setting<PathBuf>,
    /// `runpacks.s3.endpoint`
    pub endpoint: Setting<Option<Endpoint>>,
    /// `runpacks.s3.bucket`
    pub bucket: Setting<Option<BucketName>>,
    /// `runpacks.s3.region`
    pub region: Setting<Option<String>>,
    /// `runpacks.s3.path_prefix`
    pub path_prefix: Setting<PathPrefix>,
    /// `runpacks.s3.path_style`
    pub path_style: Setting<Addressing>,
    /// `runpacks.s3.sse`
    pub sse: Setting<Encryption>,
    /// `runpacks.s3.expected_owner`
    pub expected_owner: Setting<Option<String>>,
    /// `runpacks.s3.ca_file`
    pub ca_file: Setting<Option<PathBuf>>,
    /// `runpacks.s3.allow_plain_http`
    pub allow_plain_http: Setting<PlainHttp>,
    /// `runpacks.s3.create_only`; nothing is as it was measured.
    pub create_only: Setting<Option<CreateOnly>>,
    /// `runpacks.s3.object_lock`
    pub object_lock: Setting<Option<serde_json::Value>>,
    /// `runpacks.policy`
    pub policy: Setting<Option<serde_json::Value>>,
    /// `runpacks.retention`
    pub retention: Setting<Option<RetentionPolicies>>,
    /// `runpacks.auto_push`
    pub auto_push: Setting<bool>,
    /// `runpacks.verify_on_push`
    pub verify_on_push: Setting<bool>,
    credentials: Credentials,
    /// The variables that could hold the credentials.
    key_names: (Cow<'static, str>, Cow<'static, str>),
    /// `runpacks.regions`, with what signs requests to each.
    regions: Option<Arc<Regions>>,
    region_credentials: BTreeMap<RegionName, Credentials>,
}

impl Settings {
    /// What counts now.
    ///
    /// # Errors
    /// The configuration file or a variable is not what it should be, or two of them contradict.
    pub fn effective(context: &Context) -> Result<Self, Failure> {
        let environment = &context.environment;
        let keys = &environment.store_keys;
        Self::of(&context.config()?, environment, &context.service, keys)
    }

    /// What counts for a second store, such as the one that a mirror copies from, where it has a configuration file of
    /// its own: that file and the keys of `RUNPACK_FROM_*`, and nothing that is said for the first store.
    ///
    /// # Errors
    /// As [`Settings::effective`].
    pub fn of_source(context: &Context, file: &Path) -> Result<Self, Failure> {
        let (config, keys) = (
            context.config_at(Some(file))?,
            &context.environment.from_keys,
        );
        let (nothing, no_flags) = (Environment::default(), ServiceOptions::default());
        Self::of(&config, &nothing, &no_flags, keys)
    }

    fn of(
        config: &Config,
        environment: &Environment,
        service: &ServiceOptions,
        keys: &KeyVariables,
    ) -> Result<Self, Failure> {
        let layers = Layers {
            file: config.path.clone(),
        };
        let s3 = config.s3.clone();
        let root = environment.store_root.as_ref();
        let bucket = ("RUNPACK_STORE_BUCKET", environment.store_bucket.as_ref());
        let named = match (root, bucket.1) {
            (Some(_), Some(_)) => return Err(both_stores()),
            (Some(_), None) => Some(("RUNPACK_STORE_ROOT", StoreKind::File)),
            (None, Some(_)) => Some((bucket.0, StoreKind::S3)),
            (None, None) => None,
        };
        let mut region = layers.of(
            environment.store_region.as_ref().map(|region| {
                (
                    "RUNPACK_STORE_REGION",
                    Some(region.to_string_lossy().into_owned()),
                )
            }),
            s3.region.map(Some),
            None,
        );
        if let Some(text) = &region.value {
            check_region(text).map_err(|rule| {
                Failure::new(format!("this is no region, region=`{text}`"), rule)
            })?;
        }
        let mut endpoint = layers.parsed(
            (
                "RUNPACK_STORE_ENDPOINT",
                environment.store_endpoint.as_ref(),
            ),
            s3.endpoint,
        )?;
        if let Some(given) = &service.endpoint {
            endpoint = flag("--endpoint", Some(given.clone()));
        }
        if let Some(given) = &service.region {
            region = flag("--region", Some(given.clone()));
        }
        let prefix = parse((
            "RUNPACK_STORE_PATH_PREFIX",
            environment.store_path_prefix.as_ref(),
        ))?;
        Ok(Self {
            store: layers.of(named, config.store, StoreKind::File),
            file_root: layers.of(
                root.map(|root| ("RUNPACK_STORE_ROOT", PathBuf::from(root))),
                config.store_root.clone(),
                PathBuf::from(STORE_DEFAULT),
            ),
            endpoint,
            bucket: layers.parsed(bucket, s3.bucket)?,
            region,
            path_prefix: layers.of(prefix, s3.path_prefix, PathPrefix::default()),
            path_style: layers.only(s3.path_style, Addressing::default()),
            sse: layers.only(s3.sse, Encryption::default()),
            expected_owner: layers.only(s3.expected_owner.map(Some), None),
            ca_file: layers.only(s3.ca_file.map(Some), None),
            allow_plain_http: layers.only(s3.allow_plain_http, PlainHttp::default()),
            create_only: layers.only(s3.create_only.map(Some), None),
            object_lock: layers.only(s3.object_lock.map(Some), None),
            policy: layers.only(config.policy.clone().map(Some), None),
            retention: layers.only(config.retention.clone().map(Some), None),
            auto_push: layers.only(config.auto_push, false),
            verify_on_push: layers.only(config.verify_on_push, true),
            credentials: credentials(keys)?,
            key_names: (keys.access.name.clone(), keys.secret.name.clone()),
            regions: config.regions.clone(),
            region_credentials: region_credentials(config, environment)?,
        })
    }

    /// The store where no flag names one.
    ///
    /// # Errors
    /// It is a bucket, and none is named.
    pub fn address(&self) -> Result<StoreAddress, Failure> {
        if let Some(regions) = self.unnamed() {
            return regions.only();
        }
        match self.store.value {
            StoreKind::File => Ok(StoreAddress::File(self.file_root.value.clone())),
            StoreKind::S3 => self.bucket_address().map(StoreAddress::S3).ok_or_else(|| {
                Failure::new(
                    format!("the store is a bucket ({}), and none is named", self.store.origin),
                    "write it as `bucket` below `runpacks.s3`, set RUNPACK_STORE_BUCKET, or give s3://BUCKET/PREFIX",
                )
            }),
        }
    }

    /// Where packs are pushed to and pulled from, where no flag says: the bucket if one is named, else the directory.
    ///
    /// # Errors
    /// Neither is configured.
    pub fn remote(&self) -> Result<StoreAddress, Failure> {
        if let Some(regions) = self.unnamed() {
            return regions.only();
        }
        // A directory that the environment names is the store, whatever the file says.
        let is_named = matches!(self.file_root.origin, Origin::Environment(_));
        if let Some(bucket) = self.bucket_address()
            && !is_named
        {
            return Ok(StoreAddress::S3(bucket));
        }
        if self.file_root.origin != Origin::Default && self.store.value == StoreKind::File {
            return Ok(StoreAddress::File(self.file_root.value.clone()));
        }
        Err(Failure::new(
            "there is no store to push to or pull from",
            "name one, as file:PATH or s3://BUCKET/PREFIX, or configure one in runpack.yaml",
        ))
    }

    /// `runpacks.regions`, where the configuration has it.
    pub(crate) fn regions(&self) -> Option<&Arc<Regions>> {
        self.regions.as_ref()
    }

    /// The regions, where they say what the store is: the environment names none.
    fn unnamed(&self) -> Option<&Arc<Regions>> {
        let is_named = |origin: &Origin| matches!(origin, Origin::Environment(_));
        self.regions
            .as_ref()
            .filter(|_| !is_named(&self.file_root.origin) && !is_named(&self.bucket.origin))
    }

    /// The store to read from where no flag names one: with regions the one that packs of `owner` go to, where an owner
    /// is known; else as [`Settings::remote`].
    pub(crate) fn reading(&self, owner: Option<&Owner>) -> Result<StoreAddress, Failure> {
        match (self.unnamed(), owner) {
            (Some(regions), Some(owner)) => {
                Ok(StoreAddress::Region(regions.route(owner)?.name.clone()))
            }
            _ => self.remote(),
        }
    }

    /// What counts for the bucket of a region: what it says, and nothing of what is said for another store.
    pub(crate) fn of_region(&self, region: &Region) -> Self {
        let mut settings = self.clone();
        let RegionPlace::Bucket(s3) = &region.place else {
            return settings;
        };
        let layers = Layers {
            file: self.regions.as_ref().map(|regions| regions.path.clone()),
        };
        let s3 = (**s3).clone();
        settings.endpoint = layers.only(s3.endpoint.map(Some), None);
        settings.bucket = layers.only(s3.bucket.map(Some), None);
        settings.region = layers.only(s3.region.map(Some), None);
        settings.path_prefix = layers.only(s3.path_prefix, PathPrefix::default());
        settings.path_style = layers.only(s3.path_style, Addressing::default());
        settings.sse = layers.only(s3.sse, Encryption::default());
        settings.expected_owner = layers.only(s3.expected_owner.map(Some), None);
        settings.ca_file = layers.only(s3.ca_file.map(Some), None);
        settings.allow_plain_http = layers.only(s3.allow_plain_http, PlainHttp::default());
        settings.create_only = layers.only(s3.create_only.map(Some), None);
        if let Some(credentials) = self.region_credentials.get(&region.name) {
            settings.credentials = credentials.clone();
            let variable = |end| region.name.variable(end).into();
            settings.key_names = (variable("ACCESS_KEY"), variable("SECRET_KEY"));
        }
        settings
    }

    /// The same for another service of buckets, as far as it is named.
    pub(crate) fn at(mut self, endpoint: Option<Endpoint>, region: Option<String>) -> Self {
        let named = |what| Origin::Flag(what);
        // A route is whole: one without an endpoint is to Amazon S3.
        (self.endpoint.value, self.endpoint.origin) = (endpoint, named("runpacks.policy"));
        if region.is_some() {
            (self.region.value, self.region.origin) = (region, named("runpacks.policy"));
        }
        self
    }

    /// Where the settings of a bucket come from, for somebody who has to correct one of them.
    pub(crate) fn whence(&self) -> String {
        let credentials = match self.credentials {
            Credentials::Chain => "the standard AWS ways".to_owned(),
            Credentials::Keys { .. } => format!("{} and {}", self.key_names.0, self.key_names.1),
        };
        let origin = |origin: &Origin| match origin {
            Origin::Default => "not set".to_owned(),
            other => other.to_string(),
        };
        format!(
            "endpoint: {}; region: {}; credentials: {credentials}; `runpack config show` shows all that counts",
            origin(&self.endpoint.origin),
            origin(&self.region.origin)
        )
    }

    fn bucket_address(&self) -> Option<BucketAddress> {
        Some(BucketAddress {
            bucket: self.bucket.value.clone()?,
            prefix: self.path_prefix.value.clone(),
        })
    }

    /// What the core needs to open a bucket. The address says which; all else is as configured.
    ///
    /// # Errors
    /// The file of certificates cannot be read.
    pub fn s3(&self, address: &BucketAddress) -> Result<S3Settings, Failure> {
        let mut settings = S3Settings::new(address.bucket.clone());
        settings.path_prefix = address.prefix.clone();
        settings.endpoint.clone_from(&self.endpoint.value);
        settings.region.clone_from(&self.region.value);
        settings.addressing = self.path_style.value;
        settings.encryption.clone_from(&self.sse.value);
        settings
            .expected_owner
            .clone_from(&self.expected_owner.value);
        settings.plain_http = self.allow_plain_http.value;
        settings.create_only = self.create_only.value.unwrap_or_default();
        settings.credentials = self.credentials.clone();
        settings.ca_pem = self.ca_file.value.as_deref().map(read_ca).transpose()?;
        Ok(settings)
    }
}

/// What signs requests to the regions that have credentials of their own.
fn region_credentials(
    config: &Config,
    environment: &Environment,
) -> Result<BTreeMap<RegionName, Credentials>, Failure> {
    let names = config.regions.iter().flat_map(|regions| regions.names());
    let own = names.filter_map(|name| Some((name, environment.region_keys.get(&name.spelled())?)));
    own.map(|(name, keys)| Ok((name.clone(), credentials(keys)?)))
        .collect()
}

fn flag<T>(name: &'static str, value: T) -> Setting<T> {
    Setting {
        value,
        origin: Origin::Flag(name),
    }
}

fn both_stores() -> Failure {
    Failure::new(
        "RUNPACK_STORE_ROOT names a directory and RUNPACK_STORE_BUCKET a bucket, and nothing says which is the store",
        "unset one of the two",
    )
}

fn read_ca(path: &Path) -> Result<Vec<u8>, Failure> {
    file::read_capped(
        path,
        CA_BYTES_MAX,
        "the file of certificates",
        "give certificates (PEM) as `ca_file` below `runpacks.s3`, or leave it out to trust those of the system",
    )
}

fn credentials(keys: &KeyVariables) -> Result<Credentials, Failure> {
    let incomplete = |given: &KeyVariable, missing: &KeyVariable| {
        Failure::new(
            format!("{} is set and {} is not", given.name, missing.name),
            "set both, or neither to use the standard AWS ways to credentials",
        )
    };
    match (&keys.access.value, &keys.secret.value, &keys.token.value) {
        (None, None, None) => Ok(Credentials::Chain),
        (Some(access), Some(secret), token) => Ok(Credentials::Keys {
            access_key: access.reveal().to_owned(),
            secret_key: secret.to_secret(),
            session_token: token.as_ref().map(Credential::to_secret),
        }),
        (Some(_), None, _) => Err(incomplete(&keys.access, &keys.secret)),
        (None, Some(_), _) => Err(incomplete(&keys.secret, &keys.access)),
        (None, None, Some(_)) => Err(incomplete(&keys.token, &keys.access)),
    }
}
