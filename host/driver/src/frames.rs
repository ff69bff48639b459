//! Whole messages over the connection of a graph, with a deadline. Both sides block on it: whoever computes has nothing else to do.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use bytes::Bytes;

use crate::{
    clock::Moment,
    codec::Garbage,
    message::{HEAD_BYTES, Message, read_head},
    system,
};

/// Most messages arrive whole with the first call that reads.
const FIRST_READ_BYTES: usize = 80 << 10;

/// Why no message came or went.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It took too long.
    Late,
    /// The other side is gone.
    Closed,
    /// What came is no message.
    Garbage(Garbage),
}

impl From<Garbage> for Trouble {
    fn from(garbage: Garbage) -> Self {
        Self::Garbage(garbage)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Late,
            // Whatever else happens on a socket between two processes of one machine, the other side is not there any more.
            _ => Self::Closed,
        }
    }
}

/// One end of a connection on which one side asks and the other answers.
#[derive(Debug)]
pub(crate) struct Frames {
    stream: UnixStream,
    buffer: Box<[u8]>,
    spin: Duration,
    /// The time that the socket waits for, so that it is set only when it changes.
    waits: Option<Duration>,
}

impl Frames {
    pub(crate) fn new(stream: UnixStream, spin: Duration) -> Self {
        Self { stream, buffer: vec![0; FIRST_READ_BYTES].into_boxed_slice(), spin, waits: None }
    }

    /// Has sending fail after this time, too.
    pub(crate) fn send_within(&self, wait: Duration) -> io::Result<()> {
        self.stream.set_write_timeout(Some(wait))
    }

    pub(crate) fn send(&mut self, message: &Message) -> Result<(), Trouble> {
        Ok(self.stream.write_all(&message.encode())?)
    }

    /// The next message. None waits for ever.
    pub(crate) fn receive(&mut self, wait: Option<Duration>) -> Result<Message, Trouble> {
        let began = wait.map(|wait| Moment::now().after(wait));
        let mut found = self.first_bytes(wait)?;
        while found < HEAD_BYTES {
            found += self.more(began, found)?;
        }
        let mut head = [0; HEAD_BYTES];
        head.copy_from_slice(&self.buffer[..HEAD_BYTES]);
        let (length, kind) = read_head(head)?;
        let here = found - HEAD_BYTES;
        if here > length {
            return Err(Garbage(format!("{} bytes follow a message that nobody has answered", here - length)).into());
        }
        let mut body = Vec::with_capacity(length);
        body.extend_from_slice(&self.buffer[HEAD_BYTES..found]);
        while body.len() < length {
            let most = (length - body.len()).min(self.buffer.len());
            self.wait_until(began)?;
            let count = read(&mut self.stream, &mut self.buffer[..most])?;
            body.extend_from_slice(&self.buffer[..count]);
        }
        Ok(Message::read(kind, Bytes::from(body))?)
    }

    /// Looks again and again for a while, then sleeps until something comes.
    fn first_bytes(&mut self, wait: Option<Duration>) -> Result<usize, Trouble> {
        if !self.spin.is_zero() {
            let began = Moment::now();
            while began.elapsed() < self.spin {
                match system::receive_now(&self.stream, &mut self.buffer)? {
                    Some(0) => return Err(Trouble::Closed),
                    Some(count) => return Ok(count),
                    None => std::hint::spin_loop(),
                }
            }
        }
        self.set_wait(wait)?;
        read(&mut self.stream, &mut self.buffer)
    }

    fn more(&mut self, until: Option<Moment>, found: usize) -> Result<usize, Trouble> {
        self.wait_until(until)?;
        read(&mut self.stream, &mut self.buffer[found..])
    }

    /// A message that comes in drops is as late as one that does not come.
    fn wait_until(&mut self, until: Option<Moment>) -> Result<(), Trouble> {
        match until.map(Moment::left) {
            Some(Duration::ZERO) => Err(Trouble::Late),
            left => Ok(self.set_wait(left)?),
        }
    }

    fn set_wait(&mut self, wait: Option<Duration>) -> io::Result<()> {
        if self.waits != wait {
            self.stream.set_read_timeout(wait)?;
            self.waits = wait;
        }
        Ok(())
    }
}

fn read(stream: &mut UnixStream, buffer: &mut [u8]) -> Result<usize, Trouble> {
    loop {
        match stream.read(buffer) {
            Ok(0) => return Err(Trouble::Closed),
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Parcel, Place};

    #[test]
    fn a_message_larger_than_a_read_arrives_whole_and_one_that_is_cut_does_not() {
        let (one, other) = UnixStream::pair().expect("a socket");
        let data = vec![7; 300 << 10];
        let parcel = Parcel { element_type: host_engine::ElementType::Uint8, shape: vec![data.len()], place: Place::Inline(data.into()) };
        let message = Message::Run(vec![parcel]);
        let mut reader = Frames::new(other, Duration::from_micros(50));
        let sent = message.clone();
        let writer = std::thread::spawn(move || {
            let mut writer = Frames::new(one, Duration::ZERO);
            writer.send(&sent).expect("it is read");
            writer.stream.write_all(&[200, 0, 0, 0, 3, 1]).expect("it is read");
            writer
        });
        assert_eq!(reader.receive(None).expect("whole"), message);
        let writer = writer.join().expect("no panic");
        assert!(matches!(reader.receive(Some(Duration::from_millis(20))), Err(Trouble::Late)));
        drop(writer);
        assert!(matches!(reader.receive(None), Err(Trouble::Closed)));
    }

    #[test]
    fn a_length_beyond_any_message_is_refused_at_once() {
        let (mut one, other) = UnixStream::pair().expect("a socket");
        one.write_all(b"HTTP/1.1 200 OK").expect("room");
        assert!(matches!(Frames::new(other, Duration::ZERO).receive(None), Err(Trouble::Garbage(_))));
    }
}
