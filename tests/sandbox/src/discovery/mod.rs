//! What the sandbox serves: built-in resources, the same for every sandbox of a process,
//! and those of its CustomResourceDefinitions. Paths and kinds are resolved here, and the
//! discovery and OpenAPI documents are written here.

mod catalogue;
mod custom;
mod documents;
mod openapi;
mod resource;

pub(crate) use catalogue::Catalogue;
pub(crate) use custom::definition;
pub(crate) use documents::{
    aggregated, api_group, api_group_list, api_resource_list, api_versions,
};
pub(crate) use openapi::{openapi_v2, openapi_v3, openapi_v3_index};
pub(crate) use resource::{Column, Resource};
