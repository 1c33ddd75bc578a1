//! A real Redis server for one test: on a free loopback port, with its data in a directory of its own.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;

/// Times something is asked for, and the pause between: two minutes, which only a test that fails takes.
const ASKED_MAX: u32 = 4800;
const PAUSE: Duration = Duration::from_millis(25);

/// Ports that are named before somebody binds them. The system gives none of them to whoever asks for
/// any port, nor to the near end of a connection: so nobody takes one between our look and the server's
/// bind, or while a server is down that comes back on it.
const PORTS: Range<usize> = 10_000..30_000;

/// A running server; it is killed when this is dropped.
pub(crate) struct RedisServer {
    dir: TempDir,
    port: u16,
    tls_port: Option<u16>,
    role: Role,
    program: PathBuf,
    args: Vec<String>,
    child: Option<Child>,
}

#[derive(Clone, Copy)]
enum Role {
    /// Keeps data, in an append-only file.
    Data,
    /// Watches over others, which it is told of by commands.
    Sentinel,
}

impl RedisServer {
    /// A server with its default settings and an append-only file.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// A server with further arguments, e.g. `["--requirepass", "x"]`. A `--tls-port` of `auto` is a
    /// free one; the server listens on both.
    pub(crate) fn start_with(args: &[&str]) -> Self {
        Self::launch(Role::Data, &program(), args)
    }

    /// A server of another make, e.g. Valkey.
    pub(crate) fn start_program(program: &Path, args: &[&str]) -> Self {
        Self::launch(Role::Data, program, args)
    }

    /// A Sentinel that watches over nothing yet.
    pub(crate) fn start_sentinel(args: &[&str]) -> Self {
        Self::launch(Role::Sentinel, &program(), args)
    }

    fn launch(role: Role, program: &Path, args: &[&str]) -> Self {
        // Another run of these tests may take the port between our look and the server's bind.
        for _ in 0..5 {
            let tls_port = args.contains(&"auto").then(free_port);
            let arg = |arg: &&str| match (*arg, tls_port) {
                ("auto", Some(port)) => port.to_string(),
                (arg, _) => arg.to_owned(),
            };
            let mut server = Self {
                dir: tempfile::tempdir().unwrap(),
                port: free_port(),
                tls_port,
                role,
                program: program.to_owned(),
                args: args.iter().map(arg).collect(),
                child: None,
            };
            if server.try_restart() {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    /// Starts it again after [`Self::kill`], on the same port and data.
    pub(crate) fn restart(&mut self) {
        assert!(self.try_restart(), "redis-server does not start again");
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops it from answering, while its connections stay open.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// How much it has written to its append-only file.
    pub(crate) fn written(&self) -> u64 {
        std::fs::metadata(self.appended()).unwrap().len()
    }

    /// As when its machine dies: a server that is killed has given the system everything, and the system
    /// has not given everything to the disk.
    pub(crate) fn lose_behind(&self, written: u64) {
        let file = OpenOptions::new().write(true).open(self.appended());
        file.unwrap().set_len(written).unwrap();
    }

    fn appended(&self) -> PathBuf {
        let dir = self.dir.path().join("appendonlydir");
        dir.join("appendonly.aof.1.incr.aof")
    }

    /// Whether it was started and not killed since.
    pub(crate) const fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The port by TLS, or the other one where there is none: what servers tell each other.
    pub(crate) fn main_port(&self) -> u16 {
        self.tls_port.unwrap_or(self.port)
    }

    /// By TLS, where there is TLS.
    pub(crate) fn url(&self) -> String {
        match self.tls_port {
            Some(port) => format!("rediss://127.0.0.1:{port}"),
            None => format!("redis://127.0.0.1:{}", self.port),
        }
    }

    /// Sends one inline command and gives the first bytes of the answer.
    pub(crate) fn command(&self, line: &str) -> String {
        self.try_command(line).unwrap()
    }

    /// The same, or nothing where it does not answer.
    pub(crate) fn try_command(&self, line: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    }

    fn try_restart(&mut self) -> bool {
        self.kill();
        let mut child = self.call().spawn().unwrap_or_else(|error| {
            panic!(
                "these tests need a Redis server, and {} does not start: {error}; \
                 install redis-server or name it in ASSAY_REDIS_SERVER",
                self.program.display()
            )
        });
        for _ in 0..ASKED_MAX {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            if self.answers(child.id()) {
                self.child = Some(child);
                return true;
            }
            std::thread::sleep(PAUSE);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        false
    }

    /// Whether it is this process that answers, and not one that had the port before.
    fn answers(&self, process: u32) -> bool {
        let answer = self.try_command("PING").unwrap_or_default();
        if answer.starts_with("-NOAUTH") {
            return true;
        }
        let info = self.try_command("INFO server").unwrap_or_default();
        answer.starts_with("+PONG") && info.contains(&format!("process_id:{process}\r\n"))
    }

    /// Waits until a replica has everything that was written here until now. `WAIT` does not tell: it
    /// waits for what its own connection wrote. Blocks the thread.
    pub(crate) fn wait_for_replica(&self, replica: &Self) {
        let written = self.offset("master_repl_offset").expect("a primary");
        wait_until("the replica has it all", || {
            replica
                .offset("slave_repl_offset")
                .is_some_and(|read| read >= written)
        });
    }

    fn offset(&self, field: &str) -> Option<u64> {
        let info = self.try_command("INFO replication").ok()?;
        let field = format!("{field}:");
        let value = info.lines().find_map(|line| line.strip_prefix(&field))?;
        value.trim().parse().ok()
    }

    fn call(&self) -> Command {
        let mut call = Command::new(&self.program);
        if let Role::Sentinel = self.role {
            // It keeps there what it is told, and finds it again after a restart.
            let file = self.dir.path().join("sentinel.conf");
            drop(OpenOptions::new().create(true).append(true).open(&file));
            call.arg(file).arg("--sentinel");
        }
        call.args(["--port", &self.port.to_string()])
            .args(["--bind", "127.0.0.1", "--dir"])
            .arg(self.dir.path());
        if let Role::Data = self.role {
            call.args(["--save", "", "--appendonly", "yes"])
                .args(["--appendfsync", "always"])
                .args(["--repl-diskless-sync-delay", "0"]);
        }
        call.args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        call
    }

    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        let status = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn program() -> PathBuf {
    std::env::var_os("ASSAY_REDIS_SERVER").map_or_else(|| "redis-server".into(), PathBuf::from)
}

/// A program that `make setup` installs; `ASSAY_TOOLS` names another directory.
pub(crate) fn tool(name: &str) -> PathBuf {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tools = std::env::var_os("ASSAY_TOOLS");
    tools
        .map_or_else(|| project.join(".tools/bin"), PathBuf::from)
        .join(name)
}

/// Looks until it is so; blocks the thread.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..ASKED_MAX {
        if is_so() {
            return;
        }
        std::thread::sleep(PAUSE);
    }
    panic!("never so: {what}");
}

/// A port nobody has at this moment, and nobody else of this process gets.
pub(crate) fn free_port() -> u16 {
    // Runs of these tests beside each other begin elsewhere.
    static NEXT: LazyLock<AtomicUsize> = LazyLock::new(|| {
        let drawn = assay::secret::random::<2>().unwrap();
        AtomicUsize::new(u16::from_be_bytes(drawn).into())
    });
    for _ in PORTS {
        let number = NEXT.fetch_add(1, Ordering::SeqCst) % PORTS.len();
        let port = u16::try_from(PORTS.start + number).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}
