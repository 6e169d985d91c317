//! The gateway: one entry point in front of producers and consumers.

use std::sync::Arc;

use adapter_http::{
    Actuator, Console, ConsoleFile, Gateway, LocalService, Server, UPSTREAMS, Upstream, UpstreamTls, UpstreamUrl,
    gateway_endpoint,
};
use application::health::Health;

use crate::context::Context;
use crate::settings::{List, Settings};
use crate::task::Task;

/// A gateway in front of the configured instances, or of the roles of this process, or of instances on this machine.
pub fn gateway(
    settings: &Settings,
    producer: Option<Arc<dyn LocalService>>,
    consumer: Option<Arc<dyn LocalService>>,
    tls: Option<Arc<UpstreamTls>>,
) -> Gateway {
    let upstream = |configured: &List<UpstreamUrl>, local: Option<Arc<dyn LocalService>>, urls| match local {
        Some(service) if configured.0.is_empty() => Upstream::InProcess(service),
        Some(_) | None => Upstream::Instances(urls),
    };
    Gateway::new(
        upstream(&settings.gateway.producers, producer, settings.producer_urls()),
        upstream(&settings.gateway.consumers, consumer, settings.consumer_urls()),
        settings.gateway.trusted_proxies.0.clone().into(),
        tls,
    )
}

/// Starts to serve. Returns the health of the process, with what is behind the gateway.
pub fn start(context: &Context<'_>, server: Server, gateway: Gateway, actuator: Actuator) -> (Task, Health) {
    let (asked, instances) = (gateway.clone(), gateway.clone());
    // Only the gateway reports what is behind it, also where all roles are one process.
    let health = actuator.health.with_check(UPSTREAMS, Arc::new(move || asked.fault()));
    let actuator =
        Actuator { health: health.clone(), instances: Some(Arc::new(move || instances.instances())), ..actuator };
    let console = context.settings.console.then(console);
    let endpoint = gateway_endpoint(gateway.clone(), actuator, context.access.clone(), console);
    let service = server.service(endpoint, context.observer("gateway"));
    let task = context.tasks.spawn("gateway", |stop| async move {
        tokio::join!(server.run(service, stop.clone()), gateway.watch(stop));
    });
    (task, health)
}

/// The console that is part of this program.
fn console() -> Console {
    let file = |file: &adapter_console::File| ConsoleFile {
        path: file.path,
        media_type: file.media_type,
        tag: file.tag,
        content: file.content,
    };
    Console::new(&adapter_console::FILES.iter().map(file).collect::<Vec<_>>())
}
