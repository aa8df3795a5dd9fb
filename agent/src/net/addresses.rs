//! Which addresses of a relay to try, and in which order: what the name
//! server says, what it said before it fell silent, and last those that took a
//! connection lately and came to nothing.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::resolve::{LOOKUP_DEADLINE, ResolveError, resolve_until};
use crate::config::RelayAddress;

/// Time for a name server that is not needed: the relay's addresses are known
/// from before.
pub const PATIENCE_WITH_MEMORY: Duration = Duration::from_millis(1500);

/// What is known about the addresses of one relay before a try.
#[derive(Debug, Default)]
pub struct Addresses {
    /// The one address to use, without a lookup.
    pub only: Option<SocketAddr>,
    /// Addresses that worked, for a name server that does not.
    pub remembered: Vec<SocketAddr>,
    /// Addresses to try after all others.
    pub last: Vec<SocketAddr>,
    /// Whether the name server is waited for although addresses are remembered:
    /// the relay may have moved, and the name server may be slow.
    pub waits_for_lookup: bool,
    /// The address that a connection came about with.
    pub reached: Cell<Option<SocketAddr>>,
}

impl Addresses {
    /// The addresses of `relay` to try, in order, never empty.
    ///
    /// # Errors
    /// When the lookup fails and nothing is remembered.
    pub(super) async fn of(&self, relay: &RelayAddress) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Some(only) = self.only {
            return Ok(vec![only]);
        }
        let is_short = !self.remembered.is_empty() && !self.waits_for_lookup;
        let time = if is_short { PATIENCE_WITH_MEMORY } else { LOOKUP_DEADLINE };
        let found = resolve_until(&relay.host, relay.port, Instant::now() + time).await;
        let addresses = match found {
            Err(_) if !self.remembered.is_empty() => self.remembered.clone(),
            found => found?,
        };
        Ok(self.ordered(addresses))
    }

    fn ordered(&self, mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let place = |address: &SocketAddr| self.last.iter().position(|last| last == address);
        // A stable sort: those that are not among the last stay in order.
        addresses.sort_by_key(|address| place(address).map_or(0, |place| place + 1));
        addresses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_came_to_nothing_are_tried_last() {
        let address = |last: u8| SocketAddr::from(([192, 0, 2, last], 443));
        let known = Addresses { last: vec![address(1), address(3)], ..Addresses::default() };
        let ordered = known.ordered(vec![address(1), address(2), address(3), address(4)]);
        assert_eq!(ordered, [address(2), address(4), address(1), address(3)]);
    }

    #[test]
    fn what_is_remembered_serves_while_names_cannot_be_looked_up() {
        let remembered = vec![SocketAddr::from(([192, 0, 2, 1], 443))];
        let known = Addresses { remembered: remembered.clone(), ..Addresses::default() };
        let relay = RelayAddress { host: "no name at all".to_owned(), port: 443 };
        let found = smol::block_on(known.of(&relay)).expect("remembered");
        assert_eq!(found, remembered);
        assert!(smol::block_on(Addresses::default().of(&relay)).is_err());
    }
}
