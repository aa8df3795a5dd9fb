//! Which addresses this machine has, asked of the kernel by what it lets a
//! socket do: no permission and no netlink is needed.

use std::net::{IpAddr, UdpSocket};

/// Whether `address` is one of this machine's now.
pub fn has_address(address: IpAddr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => true,
        Err(error) => error.kind() != std::io::ErrorKind::AddrNotAvailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_ours_and_a_documentation_address_is_not() {
        assert!(has_address([127, 0, 0, 1].into()));
        assert!(!has_address([192, 0, 2, 77].into()));
    }
}
