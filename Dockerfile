# Spillway in a container: `docker build -t spillway:local .`, with or without BuildKit. docker-compose.yml runs it.
#
# Each role is a command: `docker run spillway:local producer`. Configuration is by variables (README.md). Listeners
# are bound to the container's loopback address unless SPILLWAY_…__LISTEN says otherwise.

# The files that determine which dependencies are compiled: manifests, and an empty source for each target that they
# name. The next stage is rebuilt only if one of them changes.
FROM rust:1.95-bookworm AS manifests
COPY . /source
WORKDIR /manifests
RUN set -eu; cd /source; \
    find . -name Cargo.toml -o -name Cargo.lock | while read -r file; do \
        mkdir -p "/manifests/$(dirname "$file")"; cp "$file" "/manifests/$file"; \
    done; \
    { find . -name lib.rs -o -name main.rs -o -name build.rs -o -path "*/benches/*.rs"; \
      find . -name Cargo.toml | while read -r file; do \
          sed -n "s|^path = \"\(.*\.rs\)\"|$(dirname "$file")/\1|p" "$file"; \
      done; \
    } | while read -r file; do \
        mkdir -p "/manifests/$(dirname "$file")"; echo 'fn main() {}' >"/manifests/$file"; \
    done

FROM rust:1.95-bookworm AS build
# Backtraces name functions; line numbers would make the program five times as large.
ENV CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=debuginfo
WORKDIR /source
COPY --from=manifests /manifests .
RUN cargo build --release --locked --bin spillway
COPY . .
# Files may be older than the placeholders that were compiled.
RUN find . -name '*.rs' -not -path './target/*' -exec touch {} + \
    && cargo build --release --locked --bin spillway \
    && cp target/release/spillway /spillway

FROM debian:bookworm-slim
# Trusted certificate authorities, for https:// webhooks, and for Kafka and PostgreSQL with TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
RUN echo 'spillway:x:10001:10001::/var/lib/spillway:/usr/sbin/nologin' >>/etc/passwd \
    && echo 'spillway:x:10001:' >>/etc/group \
    && install -d -o 10001 -g 10001 -m 0750 /var/lib/spillway
COPY --from=build /spillway /usr/local/bin/spillway
COPY scripts/ready-in-container /usr/local/bin/spillway-ready
# The only directory that the program writes to. A new volume inherits its owner.
ENV SPILLWAY_DATA_DIR=/var/lib/spillway
WORKDIR /var/lib/spillway
VOLUME /var/lib/spillway
USER 10001:10001
EXPOSE 8080 8081 8082
# For whichever roles run here.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=5 CMD ["spillway-ready"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["spillway"]
CMD ["all"]
