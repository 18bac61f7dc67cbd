//! What the peer's kernel has acknowledged of what was written to a connection. The one system call
//! that no safe crate wraps.

use tokio::net::TcpStream;

/// How many bytes that were written have not been acknowledged; `None` where it cannot be told.
///
/// `SIOCOUTQ` of tcp(7), which has the number of `TIOCOUTQ`: what is in the send queue, sent or
/// not. After a reset it still tells what had not been acknowledged by then.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "no safe crate wraps SIOCOUTQ, and without it a page that comes back gets too much or too little"
)]
pub(super) fn outstanding(tcp: &TcpStream) -> Option<u64> {
    use std::os::fd::AsRawFd as _;

    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open, since `tcp` is borrowed, and the kernel writes one int to a
    // place that lives until the call returns.
    let result = unsafe { libc::ioctl(tcp.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 {
        u64::try_from(bytes).ok()
    } else {
        None
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn outstanding(_: &TcpStream) -> Option<u64> {
    None
}
