//! A real PostgreSQL server as a child process, on loopback and a socket of its own, with a fresh database: killed,
//! stopped and restarted at will, and gone when dropped. It knows nothing of windrow.

use std::{
    ffi::OsStr,
    fs::{self, File, Permissions},
    io::{BufRead, BufReader, Write},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::process::free_port;

/// The superuser.
pub const USER: &str = "windrow";
/// A canary too: it must be found in nothing windrow writes.
pub const PASSWORD: &str = "canary-pa55word-0f-the-database";
pub const DATABASE: &str = "shop";

/// How often it is asked whether it is there.
const START_LOOKS: usize = 600;
/// Somebody else may take a free port first; then it starts over with another.
const START_ATTEMPTS: usize = 5;
const RESTART_ATTEMPTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);
/// Where Debian puts what it does not put in the path.
const DEBIAN: &str = "/usr/lib/postgresql";
/// PostgreSQL refuses to run as root; then it runs as this user.
const UNPRIVILEGED: &str = "nobody";

/// What speed is bought with: nothing here has to survive a power cut of the machine.
const SETTINGS: [&str; 7] = [
    "fsync=off",
    "full_page_writes=off",
    "max_prepared_transactions=8",
    "wal_level=logical",
    "max_wal_senders=8",
    "max_replication_slots=8",
    "shared_buffers=64MB",
];

/// A running server with a database `shop`.
pub struct Postgres {
    // Before the folder: nobody writes to it while it is taken away.
    server: Option<Child>,
    folder: TempDir,
    binaries: Binaries,
    settings: Vec<String>,
    port: u16,
}

impl Postgres {
    /// Starts one. `None` if there is none here: `WINDROW_POSTGRES` names no folder with `postgres` and `initdb`, and neither
    /// the path nor Debian's folders have them, nor `psql`.
    pub fn start() -> Result<Option<Self>> {
        Self::start_with(&[])
    }

    /// The same with settings more, such as `max_connections=5`.
    pub fn start_with(settings: &[&str]) -> Result<Option<Self>> {
        let Some(binaries) = Binaries::find() else { return Ok(None) };
        let folder = tempfile::tempdir()?;
        let settings = SETTINGS.iter().chain(settings).map(|setting| (*setting).to_owned()).collect();
        let mut postgres = Self { server: None, folder, binaries, settings, port: 0 };
        postgres.init()?;
        postgres.launch_somewhere()?;
        postgres.psql_in("postgres", &format!("CREATE DATABASE {DATABASE}"))?;
        Ok(Some(postgres))
    }

    /// A standby of this server, which follows it.
    pub fn standby(&self) -> Result<Self> {
        let binaries = self.binaries.clone();
        let mut standby =
            Self { server: None, folder: tempfile::tempdir()?, binaries, settings: self.settings.clone(), port: 0 };
        standby.make_room()?;
        let mut copy = standby.command("pg_basebackup");
        copy.arg("-D").arg(standby.data()).args(["-R", "-X", "stream", "-c", "fast", "-d", &self.url()]);
        said(&mut copy)?;
        standby.launch_somewhere()?;
        Ok(standby)
    }

    /// With the superuser's password.
    pub fn url(&self) -> String {
        self.url_of(USER, PASSWORD, DATABASE)
    }

    pub fn url_of(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its socket is.
    pub fn socket(&self) -> &Path {
        self.folder.path()
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Runs SQL as the superuser, and returns what it answers: a line a row, fields between `|`.
    pub fn psql(&self, sql: &str) -> Result<String> {
        self.psql_in(DATABASE, sql)
    }

    /// The same in another database.
    pub fn psql_in(&self, database: &str, sql: &str) -> Result<String> {
        self.psql_as(&self.url_of(USER, PASSWORD, database), sql)
    }

    /// The same as another user.
    pub fn psql_as(&self, url: &str, sql: &str) -> Result<String> {
        let mut child = self.psql_command(url).stderr(Stdio::piped()).spawn()?;
        let mut input = child.stdin.take().context("psql has an input")?;
        let sql = sql.to_owned();
        // It answers while it is still being asked.
        let asking = std::thread::spawn(move || input.write_all(sql.as_bytes()));
        let output = child.wait_with_output()?;
        let _ = asking.join();
        ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim_end_matches('\n').to_owned())
    }

    /// Runs a program that comes with the server, `pgbench` for one, on the database as the superuser.
    pub fn run_tool(&self, program: &str, args: &[&str]) -> Result<()> {
        let mut command = self.command(program);
        command.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string()).env("PGDATABASE", DATABASE);
        said(command.env("PGUSER", USER).env("PGPASSWORD", PASSWORD).args(args))
    }

    /// What one statement writes, read by a statement of another server, through a pipe.
    pub fn pipe(&self, out: &str, to: &Self, into: &str) -> Result<()> {
        let mut writing = self.psql_command(&self.url()).args(["-c", out]).stdin(Stdio::null()).spawn()?;
        let output = writing.stdout.take().context("psql has an output")?;
        let mut reading = to.psql_command(&to.url());
        let read = reading.args(["-c", into]).stdin(output).stdout(Stdio::null()).status()?;
        let written = writing.wait()?;
        ensure!(read.success() && written.success(), "a pipe broke: {written}, {read}");
        Ok(())
    }

    /// A session as the superuser that stays open, to hold transactions and locks.
    pub fn session(&self) -> Result<Psql> {
        let mut child = self.psql_command(&self.url()).stderr(Stdio::inherit()).spawn()?;
        let input = child.stdin.take().context("psql has an input")?;
        let output = BufReader::new(child.stdout.take().context("psql has an output")?);
        Ok(Psql { child, input, output })
    }

    /// Ends the server at once, as a power cut of its process would. Its children notice and end too.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            server.kill()?;
            server.wait()?;
        }
        Ok(())
    }

    /// Cuts every session and shuts the server down.
    pub fn shut_down(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            signal("INT", server.id())?;
            server.wait()?;
        }
        Ok(())
    }

    /// Starts it again on its data and its port, after [`Self::kill`] or [`Self::shut_down`].
    pub fn start_again(&mut self) -> Result<()> {
        ensure!(self.server.is_none(), "the server runs");
        // Children of one that was killed may take a moment to notice.
        for _ in 0..RESTART_ATTEMPTS {
            if self.launch().is_ok() {
                return Ok(());
            }
            sleep(PAUSE * 4);
        }
        self.launch()
    }

    /// Settings it is started with from the next time on.
    pub fn set(&mut self, settings: &[&str]) {
        self.settings.extend(settings.iter().map(|setting| (*setting).to_owned()));
    }

    /// Puts files into its data, which nobody else may read.
    pub fn own(&self, files: &[(&str, Vec<u8>)]) -> Result<()> {
        for (name, content) in files {
            let path = self.data().join(name);
            fs::write(&path, content)?;
            fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            if let Some(user) = &self.binaries.user {
                chown(&path, Some(user.0), Some(user.1))?;
            }
        }
        Ok(())
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn psql_command(&self, url: &str) -> Command {
        let mut command = Command::new(&self.binaries.psql);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", url]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    /// A folder that belongs to whom the server runs as.
    fn make_room(&self) -> Result<()> {
        let data = self.data();
        fs::create_dir(&data)?;
        fs::set_permissions(&data, Permissions::from_mode(0o700))?;
        File::create(self.folder.path().join("log"))?;
        if let Some(user) = &self.binaries.user {
            for place in [self.folder.path(), &data, &self.folder.path().join("log")] {
                chown(place, Some(user.0), Some(user.1))?;
            }
        }
        Ok(())
    }

    fn init(&self) -> Result<()> {
        self.make_room()?;
        let password = self.folder.path().join("password");
        fs::write(&password, PASSWORD)?;
        fs::set_permissions(&password, Permissions::from_mode(0o644))?;
        let mut init = self.command("initdb");
        init.arg("-D").arg(self.data()).args(["-U", USER, "-E", "UTF8", "--locale=C", "--no-sync"]);
        init.args(["--auth=scram-sha-256"]).arg(format!("--pwfile={}", password.display()));
        said(&mut init)
    }

    fn launch_somewhere(&mut self) -> Result<()> {
        let mut last = None;
        for _ in 0..START_ATTEMPTS {
            self.port = free_port()?;
            match self.launch() {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no attempt was made")?)
    }

    fn launch(&mut self) -> Result<()> {
        let log = File::options().append(true).open(self.folder.path().join("log"))?;
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1"]);
        command.arg("-c").arg(format!("unix_socket_directories={}", self.folder.path().display()));
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let mut child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        for _ in 0..START_LOOKS {
            // Another test's server may have taken the port, and knows the same password.
            let own = self.data().display().to_string();
            if self.psql_in("postgres", "SHOW data_directory").is_ok_and(|answer| answer == own) {
                self.server = Some(child);
                return Ok(());
            }
            if let Some(status) = child.try_wait()? {
                bail!("the database server ended with {status}: {}", self.log());
            }
            sleep(PAUSE);
        }
        let _ = child.kill();
        let _ = child.wait();
        bail!("the database server does not answer: {}", self.log())
    }

    /// A program of the server's, run as whom it may be run as. It becomes the process itself, so that signals reach it.
    fn command(&self, program: &str) -> Command {
        let path = self.binaries.folder.join(program);
        let mut command = match self.binaries.user {
            None => Command::new(path),
            Some((user, group)) => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={user}")).arg(format!("--regid={group}")).arg("--clear-groups").arg(path);
                command
            }
        };
        command.current_dir(self.folder.path()).env("LC_ALL", "C").env_remove("PGDATA").env_remove("PGPORT");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        // At once, but with its children: what they would still write is thrown away with the folder.
        if signal("QUIT", server.id()).is_err() {
            let _ = server.kill();
        }
        let _ = server.wait();
    }
}

/// A session of `psql`, one statement after the other.
pub struct Psql {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Psql {
    /// Runs a statement to its end and returns what it answers.
    pub fn run(&mut self, sql: &str) -> Result<String> {
        const END: &str = "-- that was all";
        writeln!(self.input, "{sql};\n\\echo '{END}'")?;
        self.input.flush()?;
        let mut answer = String::new();
        loop {
            let mut line = String::new();
            ensure!(self.output.read_line(&mut line)? > 0, "psql ended at {sql:?}");
            if line.trim_end() == END {
                return Ok(answer.trim_end_matches('\n').to_owned());
            }
            answer.push_str(&line);
        }
    }
}

impl Drop for Psql {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the programs are, and as whom they run.
#[derive(Clone, Debug)]
struct Binaries {
    folder: PathBuf,
    psql: PathBuf,
    /// User and group, if it is not ours that they run as.
    user: Option<(u32, u32)>,
}

impl Binaries {
    fn find() -> Option<Self> {
        let named = std::env::var_os("WINDROW_POSTGRES").map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let mut debian: Vec<PathBuf> = fs::read_dir(DEBIAN).into_iter().flatten().flatten().map(|e| e.path()).collect();
        debian.sort();
        let debian = debian.into_iter().rev().map(|version| version.join("bin"));
        // Programs in the path may be links to one that finds its own files only where it lies.
        let real = |folder: PathBuf| folder.join("postgres").canonicalize().ok()?.parent().map(Path::to_owned);
        let folder = named.into_iter().chain(path.iter().cloned()).filter_map(real).chain(debian);
        let folder =
            folder.into_iter().find(|folder| ["postgres", "initdb"].iter().all(|p| folder.join(p).is_file()))?;
        let psql = [folder.clone()].into_iter().chain(path).map(|folder| folder.join("psql")).find(|p| p.is_file())?;
        let user = match id(&["-u"])? {
            0 => Some((id(&["-u", UNPRIVILEGED])?, id(&["-g", UNPRIVILEGED])?)),
            _ => None,
        };
        Some(Self { folder, psql, user })
    }
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

fn signal(name: &str, process: u32) -> Result<()> {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status()?;
    ensure!(sent.success(), "kill -{name} {process} failed");
    Ok(())
}

/// Runs to the end; the error is what it said.
fn said(command: &mut Command) -> Result<()> {
    let program = command.get_args().next().map(OsStr::to_owned).unwrap_or_default();
    let output = command.stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{program:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
