//! The calls of the system that the standard library does not make: sockets that carry descriptors, limits of this process, and
//! signals to a group of them. The unsafe code of this crate stands here and in `region.rs`.

use std::{
    fs::File,
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

/// Descriptors that come with one message at most.
pub(crate) const DESCRIPTORS_MAX: usize = 4;
/// Room for the header and descriptors of a control message, in words so that it is aligned as the system wants it.
const CONTROL_WORDS: usize = 8;

/// Memory without a name, which may grow and never shrinks: what was once inside it can always be read.
pub(crate) fn growing_memory() -> io::Result<File> {
    let memory = memfd_create("shardhost-driver", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    fcntl_add_seals(&memory, SealFlags::SHRINK)?;
    Ok(File::from(memory))
}

/// Memory without a name that holds these bytes, and which nobody can change.
pub(crate) fn fixed_memory(chunks: &[&[u8]]) -> io::Result<File> {
    use std::io::Write as _;

    let memory = memfd_create("shardhost-shard", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(memory);
    chunks.iter().try_for_each(|chunk| file.write_all(chunk))?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    Ok(file)
}

/// Whether the bytes of such memory can be neither changed nor taken away.
pub(crate) fn is_fixed(file: &File) -> bool {
    rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK | SealFlags::WRITE))
}

/// Two ends of a socket on which each message arrives whole, with its descriptors.
pub(crate) fn packet_pair() -> io::Result<(UnixStream, UnixStream)> {
    let mut ends: [RawFd; 2] = [-1; 2];
    // SAFETY: the call writes two descriptors into the array that it is given, which has room for two and outlives the call.
    if unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has succeeded, so both are open descriptors that nobody else knows.
    let [one, other] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
    Ok((one.into(), other.into()))
}

/// Sends one message with descriptors.
pub(crate) fn send_packet(socket: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut control = [0_u64; CONTROL_WORDS];
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut message = empty_message(&mut part);
    let fds: Vec<RawFd> = descriptors.iter().take(DESCRIPTORS_MAX).map(|descriptor| descriptor.as_raw_fd()).collect();
    if !fds.is_empty() {
        let size = size_of::<RawFd>() * fds.len();
        // SAFETY: `CMSG_SPACE` and `CMSG_LEN` only compute. `control` has room for a header and `DESCRIPTORS_MAX` descriptors and is
        // aligned, `CMSG_FIRSTHDR` points to its start once its length is set, and `CMSG_DATA` behind the header, where the
        // descriptors are copied byte by byte.
        unsafe {
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(size as libc::c_uint) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size as libc::c_uint) as _;
            std::ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), libc::CMSG_DATA(header), size);
        }
    }
    // SAFETY: the message points to `bytes` and `control`, which outlive the call; the system only reads them.
    let sent = retried(|| unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) })?;
    if sent == bytes.len() { Ok(()) } else { Err(io::Error::new(io::ErrorKind::WriteZero, format!("{sent} of {} bytes were sent", bytes.len()))) }
}

/// Receives one message into the buffer, and the descriptors that came with it. No bytes mean that the other end is closed.
pub(crate) fn receive_packet(socket: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = [0_u64; CONTROL_WORDS];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut message = empty_message(&mut part);
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the message points to `buffer` and `control`, which outlive the call and whose lengths it says.
    let received = retried(|| unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) })?;
    let mut descriptors = Vec::new();
    // SAFETY: the system has written whole control messages into `control` and their length into the message; the macros go from one
    // to the next within it. Each descriptor in them was made for this process by the call, and is taken once.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(header);
                let bytes = ((*header).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                for index in 0..bytes / size_of::<RawFd>() {
                    descriptors.push(OwnedFd::from_raw_fd(data.cast::<RawFd>().add(index).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok((received, descriptors))
}

fn empty_message(part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: a message header of zeros is valid: no address, no parts, no control messages.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message
}

/// Reads what is there, without waiting. None where nothing is.
pub(crate) fn receive_now(socket: &UnixStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    // SAFETY: the system writes at most as many bytes as the buffer has, which outlives the call.
    let received = retried(|| unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) });
    match received {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

fn retried(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(count) => return Ok(count),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
}

/// Has the system kill this process when the thread that started it ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: changes nothing but which signal this process gets.
    let done = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes the standard input for another use, and leaves nothing to read there.
pub(crate) fn take_stdin() -> io::Result<UnixStream> {
    use std::os::fd::AsFd as _;

    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let nothing = File::open("/dev/null")?;
    // SAFETY: both are open descriptors; that of the standard input stays one.
    let done = unsafe { libc::dup2(nothing.as_raw_fd(), libc::STDIN_FILENO) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(socket.into()) }
}

/// Bounds the memory that this process may write to and shares with nobody, and has it leave no core behind.
pub(crate) fn limit_memory(data_bytes_max: Option<u64>) -> io::Result<()> {
    let limit = |resource, max: u64| {
        let limits = libc::rlimit { rlim_cur: max as libc::rlim_t, rlim_max: max as libc::rlim_t };
        // SAFETY: `limits` is a valid structure that lives through the call, and the call keeps no pointer to it.
        if unsafe { libc::setrlimit(resource, &raw const limits) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    limit(libc::RLIMIT_CORE, 0)?;
    data_bytes_max.map_or(Ok(()), |max| limit(libc::RLIMIT_DATA, max))
}

/// Gives memory back that the allocator keeps though nobody uses it. What a library takes on loading may be more than the graph itself.
pub(crate) fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, from any thread.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Kills a process and those that it has started, as long as they are in its group. It must not have been waited for yet.
pub(crate) fn kill_with_group(pid: u32) {
    kill_group(pid);
    let Ok(pid) = libc::pid_t::try_from(pid) else { return };
    // SAFETY: sends a signal only. The number is still that of the child, because nobody has waited for it.
    // One that has made no group of its own yet is reached by its number alone.
    let _ = unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Kills all processes of the group that a child was started as the first of. Nothing happens where none of them is left.
pub fn kill_group(leader: u32) {
    // 0 and 1 would not be groups of a child: they mean the caller's own group, and everybody.
    let Some(group) = libc::pid_t::try_from(leader).ok().filter(|&leader| leader > 1) else { return };
    // SAFETY: sends a signal only. As long as one of the group lives, its number is given to no other.
    let _ = unsafe { libc::kill(-group, libc::SIGKILL) };
}

/// Memory of a process in pages that it does not share with files: what is given back when it ends.
pub(crate) fn private_bytes(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut fields = text.split_ascii_whitespace().map(|field| field.parse::<u64>().ok());
    let (resident, shared) = (fields.nth(1)??, fields.next()??);
    Some(resident.saturating_sub(shared) * page_bytes())
}

fn page_bytes() -> u64 {
    // SAFETY: asks for a constant of the system.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}
