//! The networks of each server: a subnet of its own for every project, chosen past what is routed there, and fixed addresses in it.
use super::present::Fleet;
use super::types::{Finding, Level};
use crate::config::Inventory;
use crate::facts::Facts;
use crate::model::{Labels, NetworkSpec, ServerName, Side, fold_hash};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Fixed addresses begin here; the first ones are left to gateways.
const FIRST_FIXED: u32 = 16;
/// A subnet has this many addresses: /22.
const SUBNET_SIZE: u32 = 1024;
/// The lower half is for fixed addresses: pairs of them.
const N_SLOTS: u32 = (SUBNET_SIZE / 2 - FIRST_FIXED) / 2;
/// Subnets are cut from 10.192.0.0/10, which few networks use.
const POOL: u32 = (10 << 24) | (192 << 16);
/// 4096 subnets of /22 lie in a /10.
const N_SUBNETS: u32 = 4096;

/// Part of an address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cidr {
    base: u32,
    prefix: u32,
}

impl Cidr {
    /// Reads `10.0.0.0/8`; an address alone is a /32.
    #[must_use]
    pub(super) fn parse(text: &str) -> Option<Cidr> {
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let address: Ipv4Addr = address.parse().ok()?;
        let prefix: u32 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        Some(Cidr { base: u32::from(address) & mask(prefix), prefix })
    }

    fn overlaps(self, other: Cidr) -> bool {
        let wide = mask(self.prefix.min(other.prefix));
        self.base & wide == other.base & wide
    }

    /// The address `offset` past its first.
    #[must_use]
    pub(super) fn address(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.base + offset)
    }
}

fn mask(prefix: u32) -> u32 {
    u32::MAX.checked_shl(32 - prefix).unwrap_or(0)
}

/// The project network and the mesh network on every server.
#[derive(Debug, Default)]
pub(super) struct Sites {
    project: BTreeMap<ServerName, Site>,
    mesh: BTreeMap<ServerName, Site>,
}

/// One network on one server.
#[derive(Debug, Clone)]
pub(super) struct Site {
    /// Where it lies.
    pub subnet: Cidr,
    /// The network as it should be made; None where it exists.
    pub missing: Option<NetworkSpec>,
}

impl Sites {
    /// Chooses or finds both networks on every server.
    #[must_use]
    pub(super) fn survey(inventory: &Inventory, fleet: &Fleet, project: (&str, Labels), mesh: &str) -> (Sites, Vec<Finding>) {
        let mut sites = Sites::default();
        let mut findings = Vec::new();
        for (server, facts) in fleet {
            let mut used: Vec<Cidr> = inventory
                .servers
                .values()
                .filter_map(|server| server.private_address)
                .map(|ip| Cidr { base: ip.into(), prefix: 32 })
                .collect();
            let texts = facts.routes.iter().chain(facts.networks.iter().flat_map(|network| &network.subnets));
            used.extend(texts.filter_map(|text| Cidr::parse(text)));
            for (name, labels, into) in [(mesh, Labels::new(), &mut sites.mesh), (project.0, project.1.clone(), &mut sites.project)] {
                match find_or_choose(facts, name, labels, &used) {
                    Ok(site) => {
                        used.push(site.subnet);
                        into.insert(server.clone(), site);
                    }
                    Err(text) => findings.push(Finding {
                        level: Level::Fatal,
                        server: Some(server.clone()),
                        service: None,
                        text,
                        hint: format!("remove the network by `docker network rm {name}` once nothing uses it, and deploy again"),
                    }),
                }
            }
        }
        (sites, findings)
    }

    /// The fixed address of one side of a replica. None past the last slot.
    #[must_use]
    pub(super) fn address(&self, server: &ServerName, slot: u32, side: Side) -> Option<Ipv4Addr> {
        // A label may say any number.
        let slot = Some(slot).filter(|slot| *slot < N_SLOTS)?;
        let offset = FIRST_FIXED + 2 * slot + u32::from(side == Side::Secondary);
        self.project.get(server).map(|site| site.subnet.address(offset))
    }

    /// The project network of a server.
    #[must_use]
    pub(super) fn project(&self, server: &ServerName) -> Option<&Site> {
        self.project.get(server)
    }

    /// The mesh network of a server.
    #[must_use]
    pub(super) fn mesh(&self, server: &ServerName) -> Option<&Site> {
        self.mesh.get(server)
    }

    /// The fixed address of a server's NGINX.
    #[must_use]
    pub(super) fn nginx(&self, server: &ServerName) -> Option<Ipv4Addr> {
        self.mesh.get(server).map(|site| site.subnet.address(FIRST_FIXED))
    }
}

fn find_or_choose(facts: &Facts, name: &str, labels: Labels, used: &[Cidr]) -> Result<Site, String> {
    if let Some(network) = facts.networks.iter().find(|network| network.name == name) {
        let subnet = network.subnets.iter().find_map(|text| Cidr::parse(text)).filter(|subnet| subnet.prefix <= 22);
        return match subnet {
            Some(subnet) => Ok(Site { subnet, missing: None }),
            None => Err(format!("network {name} has subnet {:?}, too small for fixed addresses: a /22 is needed", network.subnets)),
        };
    }
    let first = u32::from(fold_hash(name)) * 4;
    let free = (0..N_SUBNETS)
        .map(|step| Cidr { base: POOL + (first + step) % N_SUBNETS * SUBNET_SIZE, prefix: 22 })
        .find(|candidate| used.iter().all(|cidr| !cidr.overlaps(*candidate)));
    let Some(subnet) = free else { return Err("no free subnet is left in 10.192.0.0/10".to_owned()) };
    let spec = NetworkSpec {
        name: name.to_owned(),
        subnet: format!("{}/22", subnet.address(0)),
        ip_range: format!("{}/23", subnet.address(SUBNET_SIZE / 2)),
        labels,
    };
    Ok(Site { subnet, missing: Some(spec) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_is_by_the_wider_of_two() {
        let cidr = |text| Cidr::parse(text).unwrap();
        assert!(cidr("10.0.0.0/8").overlaps(cidr("10.200.3.0/24")));
        assert!(cidr("10.200.3.7").overlaps(cidr("10.200.0.0/22")));
        assert!(!cidr("10.200.4.0/22").overlaps(cidr("10.200.0.0/22")));
        assert!(cidr("0.0.0.0/0").overlaps(cidr("10.200.0.0/22")));
        assert_eq!(Cidr::parse("10.0.0.0/33"), None);
    }
}
