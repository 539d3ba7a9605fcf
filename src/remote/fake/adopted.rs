//! Containers of a server in memory that a service takes the place of, and the ports of the host's door, which they may hold. Deliberately
//! absent: what they answered.
use super::server::FakeServer;
use super::{refuse, seen};
use crate::facts::ContainerState;
use crate::model::{Adopted, Failure, label};
use crate::script::layout::HOST_DOOR;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

impl FakeServer {
    pub(super) fn stop_adopted(&mut self, adopted: &Adopted) -> Result<String, Failure> {
        let Some(there) = self.base.containers.iter_mut().find(|there| there.id == adopted.id) else { return seen("gone") };
        if there.labels.contains_key(label::PROJECT) {
            return refuse(format!("container {} carries labels of Flipside", there.name));
        }
        "no".clone_into(&mut there.restart);
        there.restart_limit = 0;
        if !there.state.is_stopped() {
            there.state = ContainerState::Exited;
        }
        seen("stopped")
    }

    pub(super) fn start_adopted(&mut self, adopted: &Adopted) -> Result<String, Failure> {
        let Some(there) = self.base.containers.iter().find(|there| there.id == adopted.id).cloned() else {
            return refuse(format!("there is no container {} any more", adopted.name));
        };
        if there.state.is_stopped() {
            self.check_start(&there)?;
        }
        for container in self.base.containers.iter_mut().filter(|container| container.id == there.id) {
            let (policy, limit) = adopted.restart.split_once(':').unwrap_or((&adopted.restart, "0"));
            policy.clone_into(&mut container.restart);
            container.restart_limit = limit.parse().unwrap_or(0);
            container.state = ContainerState::Running;
        }
        seen("runs as it did")
    }

    /// A port that the host's door would open and that somebody else holds.
    pub(super) fn in_the_doors_way(&self, ports: &BTreeSet<u16>) -> Option<u16> {
        let doors: BTreeSet<u16> =
            self.running(HOST_DOOR).and_then(|door| self.door_ports.get(&door.id)).into_iter().flatten().copied().collect();
        let bound = self.bound();
        let others = bound.iter().chain(&self.base.listeners).filter(|listener| {
            let reached = listener.address.is_none() || listener.address == Some(Ipv4Addr::LOCALHOST);
            reached && listener.transport == "tcp" && !doors.contains(&listener.port)
        });
        others.map(|listener| listener.port).find(|port| ports.contains(port))
    }
}
