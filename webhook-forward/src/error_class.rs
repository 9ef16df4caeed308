//! Why a request failed, in a closed list.
