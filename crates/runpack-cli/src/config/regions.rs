//! `runpacks.regions` as it is written, and what makes it contradict itself.

use std::collections::{BTreeMap, BTreeSet};

use runpack_core::routing::{Routes, Selector};

use super::document::{RegionSection, RegionsSection, S3Section};
use super::{Read, S3Config};
use crate::failure::Failure;
use crate::regions::{FallBack, LocationRule, Region, RegionName, RegionPlace, Regions};

const PATH: &str = "runpacks.regions";
/// The most routes, and the most rules of residency, that a configuration may have.
const ENTRIES_MAX: usize = 10_000;

impl Read<'_> {
    pub(super) fn regions(&self, section: RegionsSection) -> Result<Regions, Failure> {
        let stores = section.stores.into_iter().map(|(name, section)| {
            let name: RegionName = self.name(&format!("{PATH}.stores"), &name)?;
            let region = self.region(&name, section)?;
            Ok((name, region))
        });
        let stores: BTreeMap<RegionName, Region> = stores.collect::<Result<_, Failure>>()?;
        if stores.is_empty() {
            return Err(self.wrong(&format!("{PATH}.stores"), "", "write at least one region"));
        }
        self.check_places(&stores)?;
        for region in stores.values() {
            let key = format!("{PATH}.stores.{}.replicas", region.name);
            let mut seen = BTreeSet::new();
            for replica in &region.replicas {
                self.known(&key, replica, &stores)?;
                if *replica == region.name || !seen.insert(replica) {
                    let rule = "name each other region once, and not the region itself";
                    return Err(self.wrong(&key, replica.as_str(), rule));
                }
            }
        }
        let routes = section.routes.into_iter().enumerate().map(|(at, route)| {
            let key = format!("{PATH}.routes[{at}]");
            let selector = self.selector(&key, &route.tenant, route.namespace.as_deref())?;
            let region = self.name(&key, &route.region)?;
            self.known(&key, &region, &stores)?;
            Ok((selector, region))
        });
        let routes: Vec<(Selector, RegionName)> = routes.collect::<Result<_, Failure>>()?;
        self.bounded(&format!("{PATH}.routes"), routes.len())?;
        let residency = section.residency.map(|rules| {
            self.bounded(&format!("{PATH}.residency"), rules.len())?;
            let rules = rules.into_iter().enumerate().map(|(at, rule)| {
                let key = format!("{PATH}.residency[{at}]");
                let selector = self.selector(&key, &rule.tenant, rule.namespace.as_deref())?;
                let named = rule.regions.iter().map(|name| {
                    let name = self.name(&key, name)?;
                    self.known(&key, &name, &stores)?;
                    Ok(name)
                });
                let named: BTreeSet<RegionName> = named.collect::<Result<_, Failure>>()?;
                if named.is_empty() {
                    return Err(self.wrong(
                        &key,
                        "",
                        "name the regions in which such packs may lie",
                    ));
                }
                Ok((selector, named))
            });
            let rules = rules.collect::<Result<Vec<_>, Failure>>()?;
            Ok::<_, Failure>(Routes::new(rules))
        });
        Ok(Regions {
            path: self.from.to_owned(),
            stores,
            routes: Routes::new(routes),
            residency: residency.transpose()?,
        })
    }

    fn name(&self, key: &str, text: &str) -> Result<RegionName, Failure> {
        let rule = "the name of a region begins with a lower-case letter and has up to 32 of them, digits and dashes";
        text.parse().map_err(|_| self.wrong(key, text, rule))
    }

    fn known(
        &self,
        key: &str,
        name: &RegionName,
        stores: &BTreeMap<RegionName, Region>,
    ) -> Result<(), Failure> {
        if stores.contains_key(name) {
            return Ok(());
        }
        let rule = "there is no such region below `runpacks.regions.stores`: write it there, or correct the name";
        Err(self.wrong(key, name.as_str(), rule))
    }

    fn bounded(&self, key: &str, entries: usize) -> Result<(), Failure> {
        if entries == 0 {
            return Err(self.wrong(
                key,
                "",
                "write at least one entry: without one nothing can be written",
            ));
        }
        if entries > ENTRIES_MAX {
            let rule = format!("there are at most {ENTRIES_MAX} entries");
            return Err(self.wrong(key, &entries.to_string(), &rule));
        }
        Ok(())
    }

    fn selector(
        &self,
        key: &str,
        tenant: &str,
        namespace: Option<&str>,
    ) -> Result<Selector, Failure> {
        Selector::parse(tenant, namespace.unwrap_or("*")).map_err(|error| {
            self.wrong(key, tenant, "correct tenant or namespace")
                .because(&error)
        })
    }

    fn region(&self, name: &RegionName, section: RegionSection) -> Result<Region, Failure> {
        let below = format!("{PATH}.stores.{name}");
        let key = |key: &str| format!("{below}.{key}");
        let location = match section.location.as_deref() {
            None | Some("told") => LocationRule::Told,
            Some("trusted") => LocationRule::Trusted,
            Some(other) => {
                let rule = "write `told` (the service must say that the bucket is in `region`) or `trusted` (where it \
                            says nothing, the configuration's word is taken)";
                return Err(self.wrong(&key("location"), other, rule));
            }
        };
        let mut fall_back = FallBack::default();
        for on in &section.fall_back_on {
            match on.as_str() {
                "denied" => fall_back.where_denied = true,
                "missing" => fall_back.where_missing = true,
                other => {
                    let rule = "replicas are read where the region is away, and beyond that `denied` and `missing`";
                    return Err(self.wrong(&key("fall_back_on"), other, rule));
                }
            }
        }
        let replicas = section.replicas.iter();
        let replicas = replicas.map(|replica| self.name(&key("replicas"), replica));
        let replicas = replicas.collect::<Result<_, Failure>>()?;
        let s3 = S3Section {
            endpoint: section.endpoint,
            bucket: section.bucket,
            region: section.region,
            path_prefix: section.path_prefix,
            path_style: section.path_style,
            sse: section.sse,
            sse_kms_key: section.sse_kms_key,
            expected_owner: section.expected_owner,
            ca_file: section.ca_file,
            allow_plain_http: section.allow_plain_http,
            create_only: section.create_only,
            object_lock: None,
        };
        let s3 = self.s3(&below, s3)?;
        let place = match section.root {
            Some(root) if s3 == S3Config::default() => {
                if location == LocationRule::Told {
                    let rule =
                        "nobody tells where a directory is: write `location: trusted` for it";
                    return Err(self.wrong(&key("location"), "told", rule));
                }
                RegionPlace::Directory(self.beside.join(root))
            }
            Some(root) => {
                let rule =
                    "a region is a directory (`root`) or a bucket, and this one has keys of both";
                return Err(self.wrong(&key("root"), &root, rule));
            }
            None if s3.bucket.is_none() => {
                return Err(self.wrong(
                    &key("bucket"),
                    "",
                    "name the bucket, or a directory as `root`",
                ));
            }
            None if s3.region.is_none() => {
                let rule = "write where the bucket must be, as the service names its regions";
                return Err(self.wrong(&key("region"), "", rule));
            }
            None => RegionPlace::Bucket(Box::new(s3)),
        };
        Ok(Region {
            name: name.clone(),
            place,
            location,
            replicas,
            fall_back,
        })
    }

    /// A place under two names would be two rules for one place.
    fn check_places(&self, stores: &BTreeMap<RegionName, Region>) -> Result<(), Failure> {
        let all: Vec<&Region> = stores.values().collect();
        for (at, region) in all.iter().enumerate() {
            let before = all.iter().take(at);
            if let Some(same) = before.into_iter().find(|other| other.is_same_place(region)) {
                let rule = format!(
                    "it is the same place as region `{}`: name it once",
                    same.name
                );
                let key = format!("{PATH}.stores.{}", region.name);
                return Err(self.wrong(&key, region.name.as_str(), &rule));
            }
        }
        Ok(())
    }
}
