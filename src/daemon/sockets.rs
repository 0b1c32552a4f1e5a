//! The `--bind` options on their way to sockets: resolved before anything is touched, bound when the
//! core says so, described to workers.

use super::{
    listen::{Address, ListenOptions, Listener},
    resolve::resolve,
};
use crate::{
    cli::{
        bind::{BindSpec, Host},
        daemon::Options,
    },
    fsm::{
        event::EventKind,
        id::{Errno, ListenerId},
    },
};
use nix::libc::EINVAL;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd as _, BorrowedFd},
};

/// All sockets of the service. Each is known by its [`ListenerId`], the position of its option: addresses
/// need not differ.
#[derive(Debug)]
pub(crate) struct Sockets {
    wanted: BTreeMap<ListenerId, Wanted>,
    bound: BTreeMap<ListenerId, Listener>,
}

/// What an option asks for.
#[derive(Debug)]
struct Wanted {
    address: Address,
    options: ListenOptions,
}

impl Sockets {
    /// Finds the address for each option.
    ///
    /// # Errors
    /// A line that names the option, the value and what is accepted.
    pub(crate) fn resolve(options: &Options) -> Result<Self, String> {
        let named = (0..).map(ListenerId).zip(&options.binds);
        let wanted = named.map(|(listener, spec)| {
            let listen_options = ListenOptions {
                reuse_address: spec.reuse_address,
                nonblocking: spec.nonblocking,
                backlog: options.backlog,
            };
            let address = address(spec, options)?;
            Ok((listener, Wanted { address, options: listen_options }))
        });
        Ok(Self { wanted: wanted.collect::<Result<_, String>>()?, bound: BTreeMap::new() })
    }

    /// Binds one of them.
    pub(crate) fn bind(&mut self, listener: ListenerId) -> EventKind {
        let Some(wanted) = self.wanted.get(&listener) else {
            return EventKind::BindFailed { listener, errno: Errno(EINVAL) };
        };
        match wanted.address.bind(wanted.options) {
            Ok(socket) => {
                log::info!("listening on {}", socket.address());
                self.bound.insert(listener, socket);
                EventKind::Bound { listener }
            }
            Err(errno) => EventKind::BindFailed { listener, errno },
        }
    }

    /// Why one of them could not be bound, for people.
    pub(crate) fn trouble(&self, listener: ListenerId, errno: Errno) -> String {
        let wanted = self.wanted.get(&listener);
        wanted.map_or_else(|| "a socket cannot be bound".into(), |wanted| wanted.address.describe(errno))
    }

    /// Where the service listens, in the order of the options.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.bound.values().map(|listener| listener.address().to_string()).collect()
    }

    /// The sockets, to be handed over, in the same order.
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.bound.values().map(|listener| listener.as_fd()).collect()
    }

    /// The families of their addresses, in the same order.
    pub(crate) fn families(&self) -> Vec<&'static str> {
        self.bound.values().map(|listener| listener.address().family_name()).collect()
    }
}

fn address(spec: &BindSpec, options: &Options) -> Result<Address, String> {
    let address = match &spec.host {
        Host::V4(ip) => SocketAddr::new(IpAddr::V4(*ip), spec.port),
        Host::V6(ip) => SocketAddr::new(IpAddr::V6(*ip), spec.port),
        Host::Name(name) => {
            resolve(name, spec.port, options.family).map_err(|error| format!("--bind: `{spec}`: {error}"))?
        }
    };
    Ok(address.into())
}
