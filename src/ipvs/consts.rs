//! The numbers of IPVS over generic netlink, named as in the kernel header `linux/ip_vs.h`. Pure.

use neli::consts::genl::{Cmd, NlAttrType};
use neli::neli_enum;

/// The family's name for the generic netlink controller (`IPVS_GENL_NAME`).
pub(super) const IPVS_GENL_NAME: &str = "IPVS";
/// The version of that family, and of the controller (`IPVS_GENL_VERSION`).
pub(super) const GENL_VERSION: u8 = 1;

/// Commands (`IPVS_CMD_*`).
#[neli_enum(serialized_type = "u8")]
pub(super) enum IpvsCmd {
    NewService = 1,
    SetService = 2,
    DelService = 3,
    GetService = 4,
    NewDest = 5,
    SetDest = 6,
    DelDest = 7,
    GetDest = 8,
    GetInfo = 15,
}
impl Cmd for IpvsCmd {}

/// Attributes of a message (`IPVS_CMD_ATTR_*`).
#[neli_enum(serialized_type = "u16")]
pub(super) enum CmdAttr {
    Service = 1,
    Dest = 2,
}
impl NlAttrType for CmdAttr {}

/// Attributes of a service (`IPVS_SVC_ATTR_*`).
#[neli_enum(serialized_type = "u16")]
pub(super) enum SvcAttr {
    Af = 1,
    Protocol = 2,
    Addr = 3,
    Port = 4,
    Fwmark = 5,
    SchedName = 6,
    Flags = 7,
    Timeout = 8,
    Netmask = 9,
    PeName = 11,
}
impl NlAttrType for SvcAttr {}

/// Attributes of a destination (`IPVS_DEST_ATTR_*`).
#[neli_enum(serialized_type = "u16")]
pub(super) enum DestAttr {
    Addr = 1,
    Port = 2,
    FwdMethod = 3,
    Weight = 4,
    UThresh = 5,
    LThresh = 6,
    ActiveConns = 7,
    InactConns = 8,
    AddrFamily = 11,
    TunType = 13,
}
impl NlAttrType for DestAttr {}

/// Service flag: persistent (`IP_VS_SVC_F_PERSISTENT`).
pub(super) const IP_VS_SVC_F_PERSISTENT: u32 = 0x1;
/// Service flag: one-packet scheduling (`IP_VS_SVC_F_ONEPACKET`).
pub(super) const IP_VS_SVC_F_ONEPACKET: u32 = 0x4;
/// Service flags 1 to 3 of the scheduler (`IP_VS_SVC_F_SCHED1` … `SCHED3`).
pub(super) const IP_VS_SVC_F_SCHED: u32 = 0x8 | 0x10 | 0x20;
/// The longest name of a scheduler or persistence engine, without its NUL (`IP_VS_SCHEDNAME_MAXLEN`).
pub(super) const IP_VS_SCHEDNAME_MAXLEN: usize = 15;

/// Bits of `FWD_METHOD` that hold the method (`IP_VS_CONN_F_FWD_MASK`).
pub(super) const IP_VS_CONN_F_FWD_MASK: u32 = 7;
/// Forwarding method: network address translation (`IP_VS_CONN_F_MASQ`).
pub(super) const IP_VS_CONN_F_MASQ: u32 = 0;
/// Forwarding method: tunnel (`IP_VS_CONN_F_TUNNEL`).
pub(super) const IP_VS_CONN_F_TUNNEL: u32 = 2;
/// Forwarding method: direct routing (`IP_VS_CONN_F_DROUTE`).
pub(super) const IP_VS_CONN_F_DROUTE: u32 = 3;
/// Tunnel type: IP in IP (`IP_VS_CONN_F_TUNNEL_TYPE_IPIP`).
pub(super) const IP_VS_CONN_F_TUNNEL_TYPE_IPIP: u8 = 0;

/// `AF_INET`.
pub(super) const AF_INET: u16 = 2;
/// `AF_INET6`.
pub(super) const AF_INET6: u16 = 10;
/// `IPPROTO_TCP`.
pub(super) const IPPROTO_TCP: u16 = 6;
/// `IPPROTO_UDP`.
pub(super) const IPPROTO_UDP: u16 = 17;
/// `IPPROTO_SCTP`.
pub(super) const IPPROTO_SCTP: u16 = 132;

/// The generic netlink controller's own family number (`GENL_ID_CTRL`).
pub(super) const GENL_ID_CTRL: u16 = 16;
/// Message type: an acknowledgement or an error (`NLMSG_ERROR`).
pub(super) const NLMSG_ERROR: u16 = 2;
/// Message type: the end of a dump (`NLMSG_DONE`).
pub(super) const NLMSG_DONE: u16 = 3;
/// Message flag: what a dump reads was changed meanwhile, so that it is not whole (`NLM_F_DUMP_INTR`).
pub(super) const NLM_F_DUMP_INTR: u16 = 0x10;
/// Message types below this one are netlink's own (`NLMSG_MIN_TYPE`).
pub(super) const NLMSG_MIN_TYPE: u16 = 16;
/// An attribute that holds attributes (`NLA_F_NESTED`).
pub(super) const NLA_F_NESTED: u16 = 0x8000;
/// What of an attribute's type is its number (`NLA_TYPE_MASK`).
pub(super) const NLA_TYPE_MASK: u16 = 0x3fff;
/// Length of an attribute's header, in bytes (`NLA_HDRLEN`).
pub(super) const NLA_HDRLEN: usize = 4;
/// Length of a generic netlink message's own header, in bytes (`GENL_HDRLEN`).
pub(super) const GENL_HDRLEN: usize = 4;

/// Error numbers, as on Linux (`asm-generic/errno.h`).
pub(super) mod errno {
    pub(in super::super) const EPERM: i32 = 1;
    pub(in super::super) const ENOENT: i32 = 2;
    pub(in super::super) const ESRCH: i32 = 3;
    pub(in super::super) const EINTR: i32 = 4;
    pub(in super::super) const EAGAIN: i32 = 11;
    pub(in super::super) const EACCES: i32 = 13;
    pub(in super::super) const EEXIST: i32 = 17;
    pub(in super::super) const EINVAL: i32 = 22;
    pub(in super::super) const ERANGE: i32 = 34;
    pub(in super::super) const EPROTONOSUPPORT: i32 = 93;
    pub(in super::super) const EAFNOSUPPORT: i32 = 97;
    pub(in super::super) const ENOBUFS: i32 = 105;
}
