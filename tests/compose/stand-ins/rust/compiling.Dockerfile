# In place of rust:1.95-bookworm: the toolchain of this machine, and the sources of the dependencies that it has.
FROM spillway-stand-in/builder
COPY toolchain /usr/local/rust
COPY registry /usr/local/cargo/registry
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV PATH=/usr/local/rust/bin:$PATH CARGO_HOME=/usr/local/cargo CARGO_NET_OFFLINE=true
