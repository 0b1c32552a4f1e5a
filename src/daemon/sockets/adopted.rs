//! The sockets of whoever was here before.

use super::{
    super::{
        kept::{Held, HeldListener, Store},
        listen::{Address, ListenOptions, Listener, Maker, Mended, Refused, Rights, Taken},
    },
    Bound, Planned, Sockets, Unusable, Wanted, address, listen_options, rights,
};
use crate::{
    cli::{bind::BindSpec, daemon::Options},
    fsm::{event::EventKind, id::ListenerId},
};
use log::warn;
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
};
use std::{collections::BTreeMap, os::fd::OwnedFd};

/// Takes a socket from workers that have it and no supervisor, and says so.
pub(super) fn take(address: &Address, options: ListenOptions) -> Result<Listener, Refused> {
    let Taken { listener, holders } = address.take(options)?;
    let pids: Vec<String> = holders.iter().map(|holder| holder.pid.to_string()).collect();
    warn!(
        "{address} was taken from workers without a supervisor, which serve there, too; `kill {}` ends them",
        pids.join(" ")
    );
    Ok(listener)
}

fn set_nonblocking(fd: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

impl Sockets {
    /// They are ours for good, whoever had them before.
    pub(crate) fn settle(&mut self) {
        self.bound.values_mut().for_each(|bound| bound.listener.settle());
        self.gone.iter_mut().for_each(Listener::settle);
        for gone in self.gone.drain(..) {
            log::info!("not listening on {} any more", gone.address());
        }
    }

    /// Those that are to be there, in their order.
    pub(crate) fn planned(&self) -> impl Iterator<Item = Planned<'_>> {
        self.wanted.iter().map(|(id, Wanted { address, name, .. })| Planned {
            address,
            name: name.as_deref(),
            maker: if self.handed.contains_key(id) { Maker::Other } else { Maker::Us },
        })
    }

    /// Gives back what has a place in the file system, and closes all.
    pub(crate) fn give_back(&mut self) {
        self.bound.clear();
    }

    /// Binds all that are not.
    ///
    /// # Errors
    /// Which cannot be, and why.
    pub(crate) fn bind_the_rest(&mut self) -> Result<(), String> {
        let rest: Vec<ListenerId> = self.wanted.keys().copied().filter(|id| !self.is_bound(*id)).collect();
        for listener in rest {
            if let EventKind::BindFailed { listener, errno } = self.bind(listener) {
                return Err(self.trouble(listener, errno));
            }
        }
        Ok(())
    }

    /// The sockets that whoever was here before has bound, for its options, and those that are still to be.
    ///
    /// # Errors
    /// If one is missing, or one that is to be bound makes no sense here.
    pub(crate) fn adopt(
        options: &Options,
        before: &Options,
        held: &Held,
        store: &mut Store,
    ) -> Result<Self, Unusable> {
        let missing = |why: String| Unusable::ForNow(format!("a socket of the workers: {why}"));
        let handed = held.listeners.values().filter(|listener| listener.handed).count();
        let (mut wanted, mut bound) = (BTreeMap::new(), BTreeMap::new());
        let id =
            |position: usize| ListenerId(u32::try_from(handed.saturating_add(position)).unwrap_or(u32::MAX));
        // Where each of those is now that were bound before, by what it was then.
        let mut places = BTreeMap::new();
        for (position, spec) in options.binds.iter().enumerate() {
            let listener = id(position);
            let same = |(old, then): &(usize, &BindSpec)| {
                then.endpoint == spec.endpoint && !places.contains_key(&id(*old))
            };
            if let Some((old, _)) = before.binds.iter().enumerate().find(same) {
                places.insert(id(old), listener);
            }
            let name = spec.name.as_ref().map(|name| name.as_str().to_owned());
            let is_bound =
                places.iter().any(|(old, now)| *now == listener && held.listeners.contains_key(old));
            // What cannot be found out any more is as it was when it was bound.
            let rights =
                rights(spec).or_else(|why| if is_bound { Ok(Rights::default()) } else { Err(why) })?;
            let options = listen_options(spec, options, rights);
            wanted.insert(listener, (options, name));
        }
        let (mut all, mut gone) = (BTreeMap::new(), Vec::new());
        for (old, HeldListener { handed, name, nonblocking, file }) in &held.listeners {
            let maker = if *handed { Maker::Other } else { Maker::Us };
            let listener = if *handed { Some(old) } else { places.get(old) };
            let is_wanted = listener.and_then(|listener| wanted.remove(listener));
            let (options, name) = is_wanted.unwrap_or((ListenOptions::default(), name.clone()));
            let fd = store.take(file.fd).map_err(missing)?;
            if *nonblocking == Some(true) {
                // Whoever has it in common with us may have cleared it, as systemd does at each start.
                set_nonblocking(&fd).map_err(|errno| missing(errno.desc().to_owned()))?;
            }
            let socket = Listener::adopt(fd, file.identity(), options, maker).map_err(missing)?;
            let Some(listener) = listener else {
                gone.push(socket);
                continue;
            };
            all.insert(*listener, Wanted { address: socket.address().clone(), options, name });
            // What event loops do was told when they did it.
            bound.insert(*listener, Bound { listener: socket, told: Some(Mended::LeftNonBlocking) });
        }
        for (listener, (listen_options, name)) in wanted {
            let position = usize::try_from(listener.0).unwrap_or(usize::MAX).saturating_sub(handed);
            if let Some(spec) = options.binds.get(position) {
                let wanted = Wanted { address: address(spec, options)?, options: listen_options, name };
                all.insert(listener, wanted);
            }
        }
        Ok(Self { bound, gone, ..Self::of(all, options) })
    }
}
