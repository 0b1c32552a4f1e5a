//! The sockets of whoever was here before.

use super::{
    super::{
        kept::{Held, HeldListener, Store},
        listen::{Listener, Maker, Mended, Rights},
    },
    Bound, Sockets, Unusable, Wanted, address, listen_options, rights,
};
use crate::{
    cli::daemon::Options,
    fsm::{id::ListenerId, time::Time},
};
use std::collections::BTreeMap;

impl Sockets {
    /// They are ours for good, whoever had them before.
    pub(crate) fn settle(&mut self) {
        self.bound.values_mut().for_each(|bound| bound.listener.settle());
    }

    /// The sockets that whoever was here before has bound, and those that are still to be.
    ///
    /// # Errors
    /// If one is missing, or one that is to be bound makes no sense here.
    pub(crate) fn adopt(options: &Options, held: &Held, store: &mut Store) -> Result<Self, Unusable> {
        let missing = |why: String| Unusable::ForNow(format!("a socket of the workers: {why}"));
        let handed = held.listeners.values().filter(|listener| listener.handed).count();
        let (mut wanted, mut bound) = (BTreeMap::new(), BTreeMap::new());
        for (position, spec) in options.binds.iter().enumerate() {
            let listener = ListenerId(u32::try_from(handed.saturating_add(position)).unwrap_or(u32::MAX));
            let name = spec.name.as_ref().map(|name| name.as_str().to_owned());
            let is_bound = held.listeners.contains_key(&listener);
            // What cannot be found out any more is as it was when it was bound.
            let rights =
                rights(spec).or_else(|why| if is_bound { Ok(Rights::default()) } else { Err(why) })?;
            let options = listen_options(spec, options, rights);
            wanted.insert(listener, (options, name));
        }
        let mut all = BTreeMap::new();
        for (listener, HeldListener { handed, name, file }) in &held.listeners {
            let maker = if *handed { Maker::Other } else { Maker::Us };
            let (options, _) = wanted.remove(listener).unwrap_or_default();
            let fd = store.take(file.fd).map_err(missing)?;
            let socket = Listener::adopt(fd, file.identity(), options, maker).map_err(missing)?;
            all.insert(*listener, Wanted { address: socket.address().clone(), options, name: name.clone() });
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
        let (registry, due, rest, journal) = (None, None, Time(0), None);
        let handed = BTreeMap::new();
        Ok(Self { wanted: all, handed, bound, refusal: None, sure: false, registry, due, rest, journal })
    }
}
