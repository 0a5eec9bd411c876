//! An S3 server that costs next to nothing, to measure clients by. It checks nothing and keeps nothing.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};

use clap::Parser;
use runpack_testing::null::{self, Touch};

/// Serve S3 from memory on loopback, as fast as can be.
#[derive(Debug, Parser)]
struct Cli {
    /// The port; 0 for any that is free, which is then printed
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Keep so many MiB of bodies; zeros are served for what is beyond
    #[arg(long, default_value_t = 6 * 1024, value_name = "MIB")]
    keep: u64,
    /// Touch that memory before serving, so that no request pays for it
    #[arg(long)]
    warm: bool,
}

fn main() -> io::Result<()> {
    let cli = Cli::parse();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, cli.port))?;
    let address = listener.local_addr()?;
    let touch = if cli.warm { Touch::AtOnce } else { Touch::Late };
    null::serve(&listener, cli.keep.saturating_mul(1 << 20), touch, || {
        // Whoever reads the address may connect.
        let _ = writeln!(io::stdout(), "http://{address}");
    });
    Ok(())
}
