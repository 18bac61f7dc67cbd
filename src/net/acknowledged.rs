//! What the peer's kernel has acknowledged of what was written to a connection. The system call that no
//! safe crate wraps.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::net::socket::Socket;

/// What is known of what the peer has.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Bytes that the kernel has taken; counted for Unix sockets only.
    written: AtomicU64,
    /// How many of them the peer of a Unix socket has read, as far as is known.
    read: AtomicU64,
}

impl Account {
    /// The kernel of a Unix socket has taken more.
    pub(super) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::AcqRel);
    }

    /// Notes what the peer of a Unix socket has read. It has to be known before the peer closes: what
    /// it has not read by then is thrown away, and the kernel tells of none that is outstanding.
    pub(super) fn look(&self, socket: &Socket) {
        let written = self.written.load(Ordering::Acquire);
        // It counts whole buffers, so it is never too little. In this order: while the peer has not
        // hung up, what was counted before it holds.
        if let Some(outstanding) = kernel::outstanding(socket)
            && !kernel::has_hung_up(socket)
        {
            let read = written.saturating_sub(outstanding);
            self.read.fetch_max(read, Ordering::AcqRel);
        }
    }

    /// How many bytes that were written have not been acknowledged, or on a Unix socket not been
    /// read; never too few. `None` where it cannot be told.
    pub(super) fn outstanding(&self, socket: &Socket) -> Option<u64> {
        match socket {
            Socket::Tcp(_) => kernel::outstanding(socket),
            Socket::Unix(_) => {
                self.look(socket);
                let written = self.written.load(Ordering::Acquire);
                Some(written.saturating_sub(self.read.load(Ordering::Acquire)))
            }
        }
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::os::fd::{AsFd as _, AsRawFd as _};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use crate::net::socket::Socket;

    /// `SIOCOUTQ` of tcp(7), which has the number of `TIOCOUTQ`: what is in the send queue, sent or
    /// not. After a reset it still tells what had not been acknowledged by then.
    #[expect(
        unsafe_code,
        reason = "no safe crate wraps SIOCOUTQ, and without it a page that comes back gets too much or too little"
    )]
    pub(super) fn outstanding(socket: &Socket) -> Option<u64> {
        let mut bytes: libc::c_int = 0;
        let socket = socket.as_fd().as_raw_fd();
        // SAFETY: the descriptor is open, since the socket is borrowed, and the kernel writes one int
        // to a place that lives until the call returns.
        let result = unsafe { libc::ioctl(socket, libc::TIOCOUTQ, &raw mut bytes) };
        if result == 0 {
            u64::try_from(bytes).ok()
        } else {
            None
        }
    }

    /// Whether the peer has closed. The runtime learns of it too late.
    pub(super) fn has_hung_up(socket: &Socket) -> bool {
        // Nothing is asked for but what is always told: a hang-up or a fault.
        let asked = PollFd::new(socket, PollFlags::empty());
        let told = poll(&mut [asked], Some(&Timespec::default()));
        told.is_ok_and(|told| told != 0)
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    use crate::net::socket::Socket;

    pub(super) fn outstanding(_: &Socket) -> Option<u64> {
        None
    }

    pub(super) fn has_hung_up(_: &Socket) -> bool {
        true
    }
}
