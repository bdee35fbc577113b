//! Generates the wire types and services from `windrow/v1/*.proto`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    tonic_prost_build::configure()
        .file_descriptor_set_path(out.join("descriptor.bin"))
        .codec_path("crate::codec::SmallBuffers")
        .compile_protos(
            &[
                "windrow/v1/types.proto",
                "windrow/v1/ledger.proto",
                "windrow/v1/session.proto",
                "windrow/v1/admin.proto",
            ],
            &["."],
        )?;
    println!("cargo:rerun-if-changed=windrow");
    Ok(())
}
