# This machine's toolchain, with its downloaded dependencies, in place of rust:1.95-bookworm.
FROM spillway-stand-in/builder
COPY toolchain /usr/local/rust
COPY registry /usr/local/cargo/registry
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV PATH=/usr/local/rust/bin:$PATH CARGO_HOME=/usr/local/cargo CARGO_NET_OFFLINE=true
