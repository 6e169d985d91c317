//! The OpenAPI document: shapes, payloads, the document itself, and the service that poem-openapi makes of it.

pub mod access;
pub mod document;
pub mod fleet;
pub mod payload;
pub mod schemas;
pub mod service;
