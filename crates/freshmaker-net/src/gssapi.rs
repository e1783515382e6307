//! Kerberos through the GSSAPI library of the system, which is loaded at the first use.
//!
//! This is the only file with `unsafe` code. The library has a C interface, and its Rust bindings
//! need C headers and clang at build time; a build of this crate must need neither. The code here
//! calls six functions, whose interface RFC 2744 defines. Each pointer that is passed stays valid
//! until the call returns. Only objects that the library itself allocated are kept between calls;
//! dropping [`Exchange`] releases them.
#![allow(unsafe_code)]

use super::Negotiate;
use libloading::Library;
use std::ffi::{c_int, c_void};
use std::ptr;

const LIBRARY: &str = "libgssapi_krb5.so.2";

/// The object identifier of SPNEGO, 1.3.6.1.5.5.2, in DER.
static SPNEGO: [u8; 6] = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x02];
/// The object identifier of names of the form `service@host`, 1.2.840.113554.1.2.1.4, in DER.
static HOST_BASED_SERVICE: [u8; 10] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x01, 0x04];

/// The bits of a major status that mean failure (RFC 2744, section 3.9.1).
const ERRORS: u32 = 0xffff_0000;

/// The C type `gss_OID_desc`.
#[repr(C)]
struct Oid {
    length: u32,
    elements: *const c_void,
}

impl Oid {
    fn of(bytes: &'static [u8]) -> Self {
        Self { length: u32::try_from(bytes.len()).unwrap_or(0), elements: bytes.as_ptr().cast() }
    }
}

/// The C type `gss_buffer_desc`.
#[repr(C)]
struct Buffer {
    length: usize,
    value: *mut c_void,
}

impl Buffer {
    const EMPTY: Self = Self { length: 0, value: ptr::null_mut() };

    fn to_vec(&self) -> Vec<u8> {
        if self.value.is_null() {
            return Vec::new();
        }
        // SAFETY: the library stored a pointer to `length` bytes that it allocated; they are not
        // released while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.value.cast::<u8>(), self.length) }.to_vec()
    }
}

type Handle = *mut c_void;
type ImportName = unsafe extern "C" fn(*mut u32, *const Buffer, *const Oid, *mut Handle) -> u32;
type InitSecContext = unsafe extern "C" fn(
    *mut u32,
    Handle,
    *mut Handle,
    Handle,
    *const Oid,
    u32,
    u32,
    *mut c_void,
    *const Buffer,
    *mut *mut Oid,
    *mut Buffer,
    *mut u32,
    *mut u32,
) -> u32;
type ReleaseBuffer = unsafe extern "C" fn(*mut u32, *mut Buffer) -> u32;
type ReleaseName = unsafe extern "C" fn(*mut u32, *mut Handle) -> u32;
type DeleteSecContext = unsafe extern "C" fn(*mut u32, *mut Handle, *mut Buffer) -> u32;
type DisplayStatus = unsafe extern "C" fn(*mut u32, u32, c_int, *const Oid, *mut u32, *mut Buffer) -> u32;

/// Makes tokens with the GSSAPI library of the system.
#[derive(Debug)]
pub(super) struct System;

impl Negotiate for System {
    fn token(&self, service: &str) -> Result<Vec<u8>, String> {
        // SAFETY: loading runs the initialisers of the system's library; every program linked with
        // the library runs them too.
        let library =
            unsafe { Library::new(LIBRARY) }.map_err(|error| format!("{LIBRARY} cannot be loaded: {error}"))?;
        Exchange::new(Functions::of(&library)?).first_token(service)
    }
}

/// The six functions of the library; the lifetime ties them to the loaded library.
struct Functions<'a> {
    import_name: libloading::Symbol<'a, ImportName>,
    init_sec_context: libloading::Symbol<'a, InitSecContext>,
    release_buffer: libloading::Symbol<'a, ReleaseBuffer>,
    release_name: libloading::Symbol<'a, ReleaseName>,
    delete_sec_context: libloading::Symbol<'a, DeleteSecContext>,
    display_status: libloading::Symbol<'a, DisplayStatus>,
}

impl<'a> Functions<'a> {
    fn of(library: &'a Library) -> Result<Self, String> {
        let missing = |error: libloading::Error| format!("{LIBRARY}: {error}");
        // SAFETY: each type is the one that RFC 2744 defines for the function of this name.
        unsafe {
            Ok(Self {
                import_name: library.get("gss_import_name").map_err(missing)?,
                init_sec_context: library.get("gss_init_sec_context").map_err(missing)?,
                release_buffer: library.get("gss_release_buffer").map_err(missing)?,
                release_name: library.get("gss_release_name").map_err(missing)?,
                delete_sec_context: library.get("gss_delete_sec_context").map_err(missing)?,
                display_status: library.get("gss_display_status").map_err(missing)?,
            })
        }
    }
}

/// The objects that the library allocated for one exchange; `Drop` releases them.
struct Exchange<'a> {
    functions: Functions<'a>,
    name: Handle,
    context: Handle,
    output: Buffer,
}

impl<'a> Exchange<'a> {
    fn new(functions: Functions<'a>) -> Self {
        Self { functions, name: ptr::null_mut(), context: ptr::null_mut(), output: Buffer::EMPTY }
    }

    fn first_token(&mut self, service: &str) -> Result<Vec<u8>, String> {
        let mut minor = 0;
        let text = Buffer { length: service.len(), value: service.as_ptr().cast_mut().cast() };
        let (form, mechanism) = (Oid::of(&HOST_BASED_SERVICE), Oid::of(&SPNEGO));
        // SAFETY: the library only reads `text` and `form`, and stores a name that it allocated.
        let major = unsafe {
            (self.functions.import_name)(&raw mut minor, &raw const text, &raw const form, &raw mut self.name)
        };
        self.check(service, major, minor)?;
        // SAFETY: null means default credentials, no channel bindings, no input token, and outputs
        // that are not wanted. All other pointers outlive the call.
        let major = unsafe {
            (self.functions.init_sec_context)(
                &raw mut minor,
                ptr::null_mut(),
                &raw mut self.context,
                self.name,
                &raw const mechanism,
                0,
                0,
                ptr::null_mut(),
                ptr::null(),
                ptr::null_mut(),
                &raw mut self.output,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        self.check(service, major, minor)?;
        Ok(self.output.to_vec())
    }

    fn check(&self, service: &str, major: u32, minor: u32) -> Result<(), String> {
        if major & ERRORS == 0 {
            return Ok(());
        }
        Err(format!("no ticket for {service}: {}: {}", self.text(major, 1), self.text(minor, 2)))
    }

    /// Returns the library's text for a status code: `kind` is 1 for a major status (of GSSAPI) and
    /// 2 for a minor status (of the mechanism).
    fn text(&self, status: u32, kind: c_int) -> String {
        let (mut minor, mut more, mut message) = (0, 0, Buffer::EMPTY);
        let mechanism: *const Oid = ptr::null();
        // SAFETY: the library stores a buffer that it allocated in `message`; it is released below.
        let major = unsafe {
            (self.functions.display_status)(&raw mut minor, status, kind, mechanism, &raw mut more, &raw mut message)
        };
        let text = if major & ERRORS == 0 { message.to_vec() } else { format!("status {status:#x}").into_bytes() };
        // SAFETY: `message` is empty or was filled in by the library.
        unsafe { (self.functions.release_buffer)(&raw mut minor, &raw mut message) };
        String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned()
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: each pointer is null or was stored by the library, and is released once.
        unsafe {
            (self.functions.release_buffer)(&raw mut minor, &raw mut self.output);
            if !self.context.is_null() {
                (self.functions.delete_sec_context)(&raw mut minor, &raw mut self.context, ptr::null_mut());
            }
            if !self.name.is_null() {
                (self.functions.release_name)(&raw mut minor, &raw mut self.name);
            }
        }
    }
}
