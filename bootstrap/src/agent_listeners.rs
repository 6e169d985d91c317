//! Where a producer listens for agents beside its HTTP address.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use adapter_http::{GrpcServer, LocalService, Server, ServerOptions, Tls, TlsProtocol};
use adapter_keys::KeysFile;
use adapter_syslog::{Secure, SecureStream, SyslogServer};
use anyhow::Context as _;
use application::connections::ConnectionLimit;
use application::ingest::Ingest;
use domain::ports::{AgentLimiter, BoxFuture, KeyRing, Telemetry};

use crate::settings::Settings;
use crate::task::{Task, Tasks};
use crate::tls::{ListenerTls, syslog_clients_are_verified};

/// Sockets for agents, bound and not yet served. Each exists if its address is set.
#[derive(Default)]
pub struct AgentListeners {
    /// OTLP over HTTP, at the port that its clients expect.
    pub otlp: Option<Server>,
    otlp_grpc: Option<GrpcServer>,
    /// In the clear, and over TLS, by name.
    syslog: Vec<(&'static str, SyslogServer)>,
}

impl AgentListeners {
    /// Binds the addresses that are set. Without `keys`, everyone is let in. OTLP has the TLS of the producer.
    ///
    /// # Errors
    /// An address is in use or not of this machine.
    pub async fn bind(settings: &Settings, keys: Option<&Arc<KeysFile>>, tls: &ListenerTls) -> anyhow::Result<Self> {
        let (mut listeners, open) = (Self::default(), keys.is_none());
        let keys = || keys.map(|keys| Arc::<KeysFile>::clone(keys) as Arc<dyn KeyRing>);
        let allowed = || settings.syslog.allow.0.clone();
        let connections_max = NonZeroU32::new(settings.rate_limit.agent_connections_max);
        let limit = |listener| ConnectionLimit::new(listener, connections_max);
        if let Some(address) = settings.otlp.listen.0 {
            let context = || format!("the producer cannot listen at {address}; set SPILLWAY_OTLP__LISTEN");
            let server = Server::bind(address, ServerOptions::default()).await.with_context(context)?;
            listeners.otlp = Some(server.secured(tls.producer.clone()));
        }
        if let Some(address) = settings.otlp.grpc_listen.0 {
            let context = || format!("the producer cannot listen at {address}; set SPILLWAY_OTLP__GRPC_LISTEN");
            let server = GrpcServer::bind(address, limit("otlp grpc")).await.with_context(context)?;
            listeners.otlp_grpc = Some(server.secured(tls.producer.clone()));
        }
        if let Some(address) = settings.syslog.listen.0 {
            let context = || format!("the producer cannot listen at {address}; set SPILLWAY_SYSLOG__LISTEN");
            let server = SyslogServer::bind(address, limit("syslog")).await.with_context(context)?;
            listeners.syslog.push(("syslog", server.allowing(allowed()).until_required(keys())));
        }
        if let Some((address, tls)) = settings.syslog.tls_listen.0.zip(tls.syslog.as_ref()) {
            let context = || format!("the producer cannot listen at {address}; set SPILLWAY_SYSLOG__TLS_LISTEN");
            let server =
                SyslogServer::bind_secured(address, secure(tls), limit("syslog tls")).await.with_context(context)?;
            // A certificate stands for a key here.
            let keys = if syslog_clients_are_verified(settings) { None } else { keys() };
            listeners.syslog.push(("syslog tls", server.allowing(allowed()).until_required(keys)));
        }
        for (name, address) in listeners.addresses()? {
            tracing::info!(%address, "{name} listens");
            if open && !address.ip().is_loopback() {
                tracing::warn!(%address, "agents can reach this address from other machines, and everyone is let in");
            }
        }
        Ok(listeners)
    }

    /// The name and the address of each: the port that it got, if the one asked for was 0.
    fn addresses(&self) -> io::Result<Vec<(&'static str, SocketAddr)>> {
        let otlp = self.otlp.iter().map(|otlp| ("otlp", otlp.address()));
        let grpc = self.otlp_grpc.iter().map(|grpc| ("otlp grpc", grpc.address()));
        let syslog = self.syslog.iter().map(|(name, syslog)| (*name, syslog.address()));
        otlp.chain(grpc).chain(syslog).map(|(name, address)| Ok((name, address?))).collect()
    }

    /// Serves gRPC and syslog; OTLP over HTTP is up to the producer's service.
    pub fn serve(
        self,
        tasks: &Tasks,
        producer: &Arc<dyn LocalService>,
        ingest: Arc<Ingest>,
        limiter: Arc<dyn AgentLimiter>,
        telemetry: Arc<dyn Telemetry>,
    ) -> Vec<Task> {
        let Self { otlp_grpc, syslog, .. } = self;
        let grpc = otlp_grpc.map(|grpc| {
            let producer = Arc::clone(producer);
            tasks.spawn("otlp grpc", |stop| grpc.run(producer, stop))
        });
        let syslog = syslog.into_iter().map(|(_, syslog)| {
            let (ingest, limiter, telemetry) = (Arc::clone(&ingest), Arc::clone(&limiter), Arc::clone(&telemetry));
            tasks.spawn("syslog", |stop| syslog.run(ingest, limiter, telemetry, stop))
        });
        grpc.into_iter().chain(syslog).collect()
    }
}

/// Encrypts connections for syslog.
fn secure(tls: &Arc<Tls>) -> Secure {
    let tls = Arc::clone(tls);
    Arc::new(move |stream| -> BoxFuture<std::io::Result<SecureStream>> {
        let tls = Arc::clone(&tls);
        Box::pin(async move {
            let transport = tls.accept(stream, TlsProtocol::Unnamed).await?;
            Ok::<SecureStream, std::io::Error>(Box::new(transport))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_addresses_have_the_ports_that_the_listeners_got() {
        let any_port = |name: &str| (format!("SPILLWAY_{name}"), "127.0.0.1:0".to_owned());
        let given = ["OTLP__LISTEN", "OTLP__GRPC_LISTEN", "SYSLOG__LISTEN"].map(any_port);
        let settings = Settings::load(None, given).expect("valid");
        let listeners = AgentListeners::bind(&settings, None, &ListenerTls::default()).await.expect("free ports");
        let addresses = listeners.addresses().expect("addresses");
        let names: Vec<&str> = addresses.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["otlp", "otlp grpc", "syslog"]);
        assert!(addresses.iter().all(|(_, address)| address.port() != 0), "{addresses:?}");
    }
}
