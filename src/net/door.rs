//! What connections come in by: a TCP port, or a Unix socket and the file that it is found by.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket as RawSocket, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::net::socket::Socket;

/// Connections that may wait to be accepted: a crowd that reconnects at one instant fits.
const BACKLOG: i32 = 4096;

/// See the module's text.
#[derive(Debug)]
pub(super) enum Door {
    Tcp(TcpListener, SocketAddr),
    Unix {
        listener: UnixListener,
        file: SocketFile,
    },
}

impl Door {
    /// Opens `address`; port 0 takes a free one.
    pub(super) fn tcp(address: SocketAddr) -> io::Result<Self> {
        let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, None)?;
        // A restarted server must not wait for the old one's connections to fade.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let tcp = TcpListener::from_std(socket.into())?;
        let address = tcp.local_addr()?;
        Ok(Self::Tcp(tcp, address))
    }

    /// Opens a Unix socket at `path`, for those whom `mode` lets in.
    pub(super) fn unix(path: &Path, mode: u32) -> io::Result<Self> {
        clear_the_way(path)?;
        let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // From here on it is ours to remove.
        let file = SocketFile(path.to_owned());
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        // Only now, so that nobody gets in before the mode says so.
        socket.listen(BACKLOG)?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok(Self::Unix { listener, file })
    }

    /// The next connection, and where it is from, if that can be told.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener, _) => {
                let (tcp, address) = listener.accept().await?;
                Ok((tcp.into(), Some(address.ip())))
            }
            Self::Unix { listener, .. } => Ok((listener.accept().await?.0.into(), None)),
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(_, address) => address.fmt(f),
            Self::Unix { file, .. } => file.0.display().fmt(f),
        }
    }
}

/// Removes what a server has left behind that is gone.
fn clear_the_way(path: &Path) -> io::Result<()> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    let taken = |why| Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    if !file.file_type().is_socket() {
        return taken("there is a file in the way that is not a socket");
    }
    match StdUnixStream::connect(path) {
        // Nobody listens any more.
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
        Ok(_) | Err(_) => taken("a server that is running listens there"),
    }
}

/// The file of a Unix socket; removed when the socket is closed.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            let path = self.0.display();
            tracing::debug!(%error, %path, "socket file not removed");
        }
    }
}
