# docker build --tag webhook-server .
# docker run --env INSECURE=true --publish 127.0.0.1:8000:8000 --volume webhook:/data webhook-server
#
# Events are kept in /data/webhook.db, on a volume, unless DATABASE_URL says otherwise.
#
# Without signatures and tokens the server listens on a container's address only with INSECURE=true, which says
# that something in front of it controls access. Here that is the port, published on this machine only.

# The same Debian release as the image below: the server links its C library.
FROM rust:1.95-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS build
WORKDIR /src
COPY . .
# The mounts keep the registry and compiled crates from one build to the next. They are not part of the image,
# hence the copy.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --package webhook-server && \
    cp target/release/webhook-server /usr/local/bin/
RUN mkdir --mode=0700 /data

# Has the C library, libgcc, and the certificates that verify TLS to a database. It has no shell and no package
# manager.
FROM gcr.io/distroless/cc-debian12:nonroot@sha256:9dac0a79194e45a7da0158a9c6da57b217585af0786db3845d1f0ec1a0dd182f
COPY --from=build /usr/local/bin/webhook-server /usr/local/bin/
# A new volume takes over its owner and mode.
COPY --from=build --chown=65532:65532 /data /data
VOLUME /data
# The user nonroot, by number: from a name Kubernetes cannot tell that it is not root.
USER 65532:65532
# A directory without a .env.
WORKDIR /
ENV BIND_ADDR=0.0.0.0:8000
# Not DATABASE_URL, which could not be set together with DATABASE_URL_FILE.
ENV STATE_DIRECTORY=/data
EXPOSE 8000
# SIGTERM starts the drain. The container's stop time-out must be longer than DRAIN_SECONDS (25).
STOPSIGNAL SIGTERM
# Asks whether the process answers, not whether its database does: a restart would not help the database.
HEALTHCHECK --interval=10s --timeout=5s --start-period=40s CMD ["webhook-server", "healthcheck"]
ENTRYPOINT ["webhook-server"]
