//! Greets every client, and ends once those that it has accepted are greeted.
use einhyrningsins::worker;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{error::Error, net::TcpStream, process, sync::Arc, thread, time::Duration};

fn main() -> Result<(), Box<dyn Error>> {
    let stopping = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGUSR2, Arc::clone(&stopping))?;
    let listener = worker::listener(0)?; // each socket can be taken once
    listener.set_nonblocking(true)?; // several workers wake up for a client, one gets it
    worker::ack()?; // ready; does nothing if there is no supervisor
    let pause = Duration::from_millis(10);
    thread::scope(|scope| {
        while !stopping.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((client, _)) => drop(scope.spawn(|| answer(client))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(pause),
                Err(error) => eprintln!("cannot accept: {error}"),
            }
        }
    }); // waits for the threads: every client is answered
    Ok(())
}

fn answer(mut client: TcpStream) -> io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(Duration::from_secs(10)))?;
    let _ = client.read(&mut [0; 4096])?;
    client.write_all(format!("HTTP/1.0 200 OK\r\n\r\nhello from {}\n", process::id()).as_bytes())
}
