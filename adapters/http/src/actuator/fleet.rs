//! What a gateway tells about itself and the instances behind it: what the console's view of the pipeline shows.

use poem::Request;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::payload::Json;

use crate::actuator::Actuator;
use crate::client_address::peer_address;
use crate::gateway::Gateway;
use crate::openapi::fleet::{Fleet, FleetInstance};
use crate::openapi::schemas::Tag;

/// Operations that only a gateway has.
pub struct FleetApi;

#[OpenApi(prefix_path = "/actuator")]
impl FleetApi {
    /// How the gateway and all instances behind it are
    ///
    /// Only at a gateway. It asks its instances at most once a second, with the credentials of the request, and waits for
    /// each of them 1.5 s at most. An instance that does not answer is listed as `UNREACHABLE`.
    #[oai(path = "/fleet", method = "get", operation_id = "getFleet", tag = "Tag::Operations")]
    async fn fleet(&self, actuator: Data<&Actuator>, gateway: Data<&Gateway>, request: &Request) -> Json<Fleet> {
        let peer = peer_address(request.remote_addr());
        let ((report, address), others) = tokio::join!(actuator.report(), gateway.reports(request.headers(), peer));
        let at = report.at;
        let own = FleetInstance {
            role: report.role.clone(),
            url: None,
            address: address.map(|address| address.to_string()).unwrap_or_default(),
            status: report.status.clone(),
            routing: None,
            problem: None,
            report: Some(report),
        };
        let instances = std::iter::once(own).chain(others.instances).collect();
        Json(Fleet { at, instances, instances_left_out: others.left_out })
    }
}
