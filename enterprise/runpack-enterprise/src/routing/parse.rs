//! Routes as they are written, and what makes a configuration ambiguous.

use std::collections::BTreeMap;
use std::str::FromStr;

use runpack_core::id::{Namespace, Tenant};
use runpack_core::routing::{Pattern, Selector};
use serde_json::Value;

use super::{PATH, ROUTES_MAX, Region, Route, Routes, Routing};
use crate::matter::Matter;
use crate::retention::{LockMode, RetainFor, shown};
use crate::section::{ConfigError, Section, kind};
use crate::terms::{self, LockTerms, RetainUntil};

pub(super) fn routing(value: &Value) -> Result<Routing, ConfigError> {
    let mut section = Section::new(PATH, value)?;
    let written = match section.value("routes") {
        None => &[][..],
        Some(Value::Array(routes)) => routes,
        Some(other) => {
            let found = kind(other);
            return Err(section.error("routes", format!("write a list of routes, found {found}")));
        }
    };
    if written.len() > ROUTES_MAX {
        return Err(section.error("routes", format!("there are at most {ROUTES_MAX} routes")));
    }
    let mut routes: BTreeMap<Selector, Route> = BTreeMap::new();
    for (index, value) in written.iter().enumerate() {
        let mut below = Section::new(format!("{PATH}.routes[{index}]"), value)?;
        let selector = selector(&mut below)?;
        let route = route(below, OF_ROUTE)?;
        if let Some(first) = routes.get(&selector) {
            let rule = format!("this repeats {}, remove one, {selector}", first.path);
            return Err(ConfigError::new(route.path, rule));
        }
        routes.insert(selector, route);
    }
    let default = section
        .section("default")?
        .map(|below| route(below, OF_DEFAULT))
        .transpose()?;
    section.finish("routes and default")?;
    if routes.is_empty() && default.is_none() {
        return Err(ConfigError::new(
            PATH,
            "there is no route, so nothing can be written: add one to routes, or a default",
        ));
    }
    check_ambiguity(&routes)?;
    let mut routes: Vec<(Selector, Route)> = routes.into_iter().collect();
    routes.sort_by_key(|(selector, _)| {
        (
            selector.tenant == Pattern::Any,
            selector.namespace == Pattern::Any,
        )
    });
    let routing = Routing {
        routes: Routes::new(routes),
        default,
    };
    check_regions(&routing)?;
    Ok(routing)
}

fn selector(section: &mut Section<'_>) -> Result<Selector, ConfigError> {
    let tenant = section.text("tenant")?;
    let tenant = tenant.ok_or_else(|| {
        section.error(
            "tenant",
            "say whose packs it takes: a tenant, or \"*\" for all",
        )
    })?;
    let namespace = section.text("namespace")?.unwrap_or("*");
    let id = |key: &str, text: &str, error: Option<String>| match (text, error) {
        ("*", _) => Ok(Pattern::Any),
        (_, None) => Ok(Pattern::Exactly(text.into())),
        (_, Some(error)) => Err(section.error(key, format!("write \"*\" or an id: {error}"))),
    };
    let error = |error: runpack_core::id::IdError| error.to_string();
    Ok(Selector {
        tenant: id("tenant", tenant, Tenant::from_str(tenant).err().map(error))?,
        namespace: id(
            "namespace",
            namespace,
            Namespace::from_str(namespace).err().map(error),
        )?,
    })
}

const OF_DEFAULT: &str = "bucket, path_prefix, region, endpoint, mode, retain_for and legal_hold";
const OF_ROUTE: &str =
    "tenant, namespace, bucket, path_prefix, region, endpoint, mode, retain_for and legal_hold";

fn route(mut section: Section<'_>, known: &str) -> Result<Route, ConfigError> {
    let terms = terms(&mut section)?;
    let route = Route {
        path: section.path().to_owned(),
        bucket: section.required("bucket")?,
        path_prefix: section.parsed("path_prefix")?.unwrap_or_default(),
        region: section.parsed("region")?,
        endpoint: section.parsed("endpoint")?,
        terms,
    };
    section.finish(known)?;
    Ok(route)
}

/// Mode and duration come together: one without the other would leave the rest to chance.
fn terms(section: &mut Section<'_>) -> Result<Option<LockTerms>, ConfigError> {
    let mode: Option<LockMode> = section.parsed("mode")?;
    let retain_for: Option<RetainFor> = section.parsed("retain_for")?;
    let matter: Option<Matter> = terms::legal_hold(section)?;
    match (mode, retain_for, matter) {
        (Some(mode), Some(wanted), matter) => {
            let terms = LockTerms::new(mode, RetainUntil::For(wanted));
            Ok(Some(match matter {
                Some(matter) => terms.with_legal_hold(matter),
                None => terms,
            }))
        }
        (None, None, None) => Ok(None),
        (None, ..) => Err(section.error(
            "mode",
            "retain_for and legal_hold need a mode, add governance or compliance",
        )),
        (Some(_), None, _) => Err(section.error(
            "retain_for",
            "a mode needs to know for how long, add a retention such as 7y",
        )),
    }
}

/// `acme/*` and `*/prod` both fit acme's prod, and neither is more specific: there must be a route for it.
fn check_ambiguity(routes: &BTreeMap<Selector, Route>) -> Result<(), ConfigError> {
    let is_any = |pattern: &Pattern| *pattern == Pattern::Any;
    let of_tenants = routes
        .keys()
        .filter(|selector| is_any(&selector.namespace) && !is_any(&selector.tenant));
    let of_namespaces: Vec<_> = routes
        .iter()
        .filter(|(selector, _)| is_any(&selector.tenant) && !is_any(&selector.namespace))
        .collect();
    for tenant in of_tenants {
        for (namespace, route) in &of_namespaces {
            let both = Selector {
                tenant: tenant.tenant.clone(),
                namespace: namespace.namespace.clone(),
            };
            if !routes.contains_key(&both) {
                let rule = format!(
                    "it and the route of {tenant} are equally specific, add a route, {both}"
                );
                return Err(ConfigError::new(route.path.clone(), rule));
            }
        }
    }
    Ok(())
}

/// A bucket is in one region.
fn check_regions(routing: &Routing) -> Result<(), ConfigError> {
    let mut seen: BTreeMap<(&str, Option<&str>), &Route> = BTreeMap::new();
    for route in routing.routes().filter(|route| route.region.is_some()) {
        let endpoint = route
            .endpoint
            .as_ref()
            .map(runpack_core::store::s3::Endpoint::as_str);
        let first = seen
            .entry((route.bucket.as_str(), endpoint))
            .or_insert(route);
        if first.is_same_place(route) && first.region != route.region {
            let path = format!("{}.region", route.path);
            return Err(ConfigError::new(
                path,
                format!(
                    "a bucket is in one region, and {} names another, correct one",
                    first.path
                ),
            ));
        }
    }
    Ok(())
}

/// Not the name of a region.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a region is 1 to 63 lower-case letters, digits and dashes, such as eu-central-1, found=`{0}`"
)]
pub struct RegionError(String);

impl FromStr for Region {
    type Err = RegionError;

    fn from_str(text: &str) -> Result<Self, RegionError> {
        let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=63).contains(&text.len()) && text.bytes().all(is_part) {
            Ok(Self(text.into()))
        } else {
            Err(RegionError(shown(text)))
        }
    }
}
