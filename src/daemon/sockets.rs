//! The `--bind` options on their way to sockets: resolved before anything is touched, bound when the
//! core says so, described to workers.

use super::{
    listen::{self, ListenOptions, Listener},
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
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd as _, BorrowedFd},
};

/// All sockets of the service, in the order of the options.
#[derive(Debug)]
pub(crate) struct Sockets {
    wanted: Vec<(SocketAddr, ListenOptions)>,
    bound: Vec<Listener>,
    /// Why the last one could not be bound.
    trouble: Option<String>,
}

impl Sockets {
    /// Finds the address for each option.
    ///
    /// # Errors
    /// A line that names the option, the value and what is accepted.
    pub(crate) fn resolve(options: &Options) -> Result<Self, String> {
        let wanted = options.binds.iter().map(|spec| {
            let listen_options = ListenOptions {
                reuse_address: spec.reuse_address,
                nonblocking: spec.nonblocking,
                backlog: options.backlog,
            };
            address(spec, options).map(|address| (address, listen_options))
        });
        Ok(Self { wanted: wanted.collect::<Result<_, _>>()?, bound: Vec::new(), trouble: None })
    }

    /// Binds the next socket.
    pub(crate) fn bind(&mut self, listener: ListenerId) -> EventKind {
        let position = usize::try_from(listener.0).unwrap_or(usize::MAX);
        let Some((address, options)) = self.wanted.get(position).copied() else {
            return EventKind::BindFailed { listener, errno: Errno(EINVAL) };
        };
        match listen::bind(address, options) {
            Ok(socket) => {
                log::info!("listening on {}", socket.address());
                self.bound.push(socket);
                EventKind::Bound { listener }
            }
            Err(errno) => {
                self.trouble = Some(listen::describe(errno, address));
                EventKind::BindFailed { listener, errno }
            }
        }
    }

    /// Why binding failed, for people.
    pub(crate) fn trouble(&self) -> String {
        self.trouble.clone().unwrap_or_else(|| "a socket cannot be bound".into())
    }

    /// Where the service listens.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.bound.iter().map(|listener| listener.address().to_string()).collect()
    }

    /// The sockets, to be handed over.
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.bound.iter().map(|listener| listener.as_fd()).collect()
    }

    /// The families of their addresses, in the order of [`descriptors`](Self::descriptors).
    pub(crate) fn families(&self) -> Vec<&'static str> {
        self.bound.iter().map(Listener::family_name).collect()
    }
}

fn address(spec: &BindSpec, options: &Options) -> Result<SocketAddr, String> {
    match &spec.host {
        Host::V4(ip) => Ok(SocketAddr::new(IpAddr::V4(*ip), spec.port)),
        Host::V6(ip) => Ok(SocketAddr::new(IpAddr::V6(*ip), spec.port)),
        Host::Name(name) => {
            resolve(name, spec.port, options.family).map_err(|error| format!("--bind: `{spec}`: {error}"))
        }
    }
}
