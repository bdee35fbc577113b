//! A real server of S3 as a child process, on loopback, with a bucket: it checks signatures, honours conditions on
//! writes and keeps objects in a folder, where tests can look at them without S3. It knows nothing of windrow.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use tempfile::TempDir;

use crate::process::free_port;

pub const BUCKET: &str = "lake";
pub const KEY_ID: &str = "windrow-tests";
/// A canary too: it must be found in nothing windrow writes.
pub const SECRET: &str = "canary-5ecret-0f-the-5tore";
pub const REGION: &str = "us-east-1";

/// How often it is asked whether it is there.
const START_LOOKS: usize = 1_000;
/// Somebody else may take a free port first; then it starts over with another.
const START_ATTEMPTS: usize = 5;
const PAUSE: Duration = Duration::from_millis(20);
/// Where the server keeps unfinished uploads, below a bucket.
const UNFINISHED: &str = ".sgwtmp/multipart";

/// A running server. It ends when it is dropped, and what it kept is gone.
pub struct S3 {
    // Before the folder: nobody writes to it while it is taken away.
    server: Server,
    folder: TempDir,
    port: u16,
}

struct Server(Child);

impl S3 {
    /// Starts it. `None` if there is none here: `WINDROW_S3_SERVER` names none and `make tools` could not install it.
    pub fn start() -> Result<Option<Self>> {
        let Some(binary) = find_binary() else { return Ok(None) };
        let folder = tempfile::tempdir()?;
        fs::create_dir_all(folder.path().join("buckets").join(BUCKET))?;
        fs::create_dir(folder.path().join("about"))?;
        let mut last = None;
        for _ in 0..START_ATTEMPTS {
            let port = free_port()?;
            match launch(&binary, folder.path(), port) {
                Ok(server) => return Ok(Some(Self { server, folder, port })),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no attempt was made")?)
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it as a power loss of its process would, and starts it again with what it kept.
    pub fn restart(&mut self) -> Result<()> {
        self.server.end();
        let binary = find_binary().context("the server is gone")?;
        self.server = launch(&binary, self.folder.path(), self.port)?;
        Ok(())
    }

    /// A client's view of the bucket, past any proxy.
    pub fn client(&self) -> Result<AmazonS3> {
        client(&format!("http://{}", self.address()))
    }

    /// The bucket's folder.
    pub fn bucket(&self) -> PathBuf {
        self.folder.path().join("buckets").join(BUCKET)
    }

    /// The keys of all objects, sorted.
    pub fn keys(&self) -> Result<Vec<String>> {
        let bucket = self.bucket();
        let files = files_below(&bucket)?;
        let keys = files.iter().filter_map(|path| path.strip_prefix(&bucket).ok()).map(|key| key.display().to_string());
        let mut keys: Vec<String> = keys.filter(|key| !key.starts_with(".sgwtmp")).collect();
        keys.sort();
        Ok(keys)
    }

    /// How many uploads in parts were begun and neither completed nor aborted.
    pub fn unfinished_uploads(&self) -> Result<usize> {
        let objects = self.bucket().join(UNFINISHED);
        if !objects.exists() {
            return Ok(0);
        }
        let per_object = fs::read_dir(objects)?.map(|object| Ok(fs::read_dir(object?.path())?.count()));
        Ok(per_object.collect::<Result<Vec<_>>>()?.iter().sum())
    }

    /// What tells other programs' clients of S3 where the server is and who they are.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address())),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ]
    }

    /// Every byte the server keeps, objects and what it says about them, for those who look for what must not be there.
    pub fn everything(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for file in files_below(self.folder.path())? {
            bytes.extend(fs::read(file)?);
        }
        Ok(bytes)
    }
}

/// A client for the bucket at an endpoint, `http://` included.
pub fn client(endpoint: &str) -> Result<AmazonS3> {
    let builder = AmazonS3Builder::new().with_endpoint(endpoint).with_allow_http(true).with_bucket_name(BUCKET);
    Ok(builder.with_region(REGION).with_access_key_id(KEY_ID).with_secret_access_key(SECRET).build()?)
}

fn launch(binary: &Path, folder: &Path, port: u16) -> Result<Server> {
    let log = fs::File::options().create(true).append(true).open(folder.join("log"))?;
    let child = Command::new(binary)
        .args(["--region", REGION, "--port", &format!("127.0.0.1:{port}"), "--quiet", "posix", "--sidecar"])
        .args([folder.join("about"), folder.join("buckets")])
        .env_clear()
        .envs([("ROOT_ACCESS_KEY", KEY_ID), ("ROOT_SECRET_KEY", SECRET)])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("{} does not start", binary.display()))?;
    let mut server = Server(child);
    for _ in 0..START_LOOKS {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(server);
        }
        if let Some(status) = server.0.try_wait()? {
            bail!("the S3 server ended with {status}: {}", said(folder));
        }
        sleep(PAUSE);
    }
    bail!("the S3 server does not answer: {}", said(folder))
}

fn said(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}

fn find_binary() -> Option<PathBuf> {
    let named = std::env::var_os("WINDROW_S3_SERVER").map(PathBuf::from);
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/s3/versitygw");
    named.into_iter().chain([installed]).find(|candidate| candidate.is_file())
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    Ok(files)
}

impl Server {
    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
