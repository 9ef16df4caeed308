# docker build --tag webhook-server .
# docker run --env INSECURE=true --publish 127.0.0.1:8000:8000 webhook-server
#
# Without signatures and tokens the server listens on a container's address only where INSECURE says that
# something in front of it (here: that it is published to this machine alone) keeps others out.

# The same Debian release as the image below: the server links its C library.
FROM rust:1.95-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS build
WORKDIR /src
COPY . .
# The mounts keep the registry and what is compiled from one build to the next; they are not part
# of the image, hence the copy.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --package webhook-server && \
    cp target/release/webhook-server /usr/local/bin/

# The C library, libgcc, and the certificates that TLS to a database is verified with. No shell, no
# package manager.
FROM gcr.io/distroless/cc-debian12:nonroot@sha256:9dac0a79194e45a7da0158a9c6da57b217585af0786db3845d1f0ec1a0dd182f
COPY --from=build /usr/local/bin/webhook-server /usr/local/bin/
# Its user nonroot, by number: Kubernetes cannot tell from a name that it is not root.
USER 65532:65532
# Where no .env lies.
WORKDIR /
ENV BIND_ADDR=0.0.0.0:8000
EXPOSE 8000
# Starts the drain: the container's stop time-out must be longer than DRAIN_SECONDS (25).
STOPSIGNAL SIGTERM
# Whether the process answers, not whether its database does: restarting it would not help that.
HEALTHCHECK --interval=10s --timeout=5s --start-period=40s CMD ["webhook-server", "healthcheck"]
ENTRYPOINT ["webhook-server"]
