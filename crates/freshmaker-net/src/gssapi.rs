//! Kerberos through the GSSAPI library of the system, which is loaded at the first use.
//!
//! This is the only file with `unsafe` code. The library has a C interface, and its Rust bindings
//! need C headers and clang at build time; a build of this crate must need neither. The code here
//! calls seven functions, whose interface RFC 2744 defines, and `gss_acquire_cred_from`, which MIT
//! Kerberos (since 1.11) and Heimdal define in `gssapi_ext.h`. Each pointer that is passed stays
//! valid until the call returns. Only objects that the library itself allocated are kept between
//! calls; dropping [`Exchange`] releases them.
#![allow(unsafe_code)]

use super::{Kerberos, Negotiate};
use libloading::Library;
use std::ffi::{CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

const LIBRARY: &str = "libgssapi_krb5.so.2";

/// The object identifier of SPNEGO, 1.3.6.1.5.5.2, in DER.
static SPNEGO: [u8; 6] = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x02];
/// The object identifier of names of the form `service@host`, 1.2.840.113554.1.2.1.4, in DER.
static HOST_BASED_SERVICE: [u8; 10] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x01, 0x04];
/// The object identifier of names of users, 1.2.840.113554.1.2.1.1, in DER.
static USER_NAME: [u8; 10] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x01, 0x01];

/// The use of a credential by the side that begins an exchange (RFC 2744, section 5.2).
const INITIATE: c_int = 1;

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

/// The C type `gss_key_value_element_desc`.
#[repr(C)]
struct KeyValue {
    key: *const c_char,
    value: *const c_char,
}

/// The C type `gss_key_value_set_desc`.
#[repr(C)]
struct KeyValues {
    count: u32,
    elements: *const KeyValue,
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
type AcquireCredFrom = unsafe extern "C" fn(
    *mut u32,
    Handle,
    u32,
    *const c_void,
    c_int,
    *const KeyValues,
    *mut Handle,
    *mut *mut c_void,
    *mut u32,
) -> u32;
type ReleaseCred = unsafe extern "C" fn(*mut u32, *mut Handle) -> u32;
type ReleaseBuffer = unsafe extern "C" fn(*mut u32, *mut Buffer) -> u32;
type ReleaseName = unsafe extern "C" fn(*mut u32, *mut Handle) -> u32;
type DeleteSecContext = unsafe extern "C" fn(*mut u32, *mut Handle, *mut Buffer) -> u32;
type DisplayStatus = unsafe extern "C" fn(*mut u32, u32, c_int, *const Oid, *mut u32, *mut Buffer) -> u32;

/// Makes tokens of an identity with the GSSAPI library of the system.
#[derive(Debug)]
pub(super) struct System(pub(super) Kerberos);

impl Negotiate for System {
    fn token(&self, service: &str) -> Result<Vec<u8>, String> {
        let library = load()?;
        let mut exchange = Exchange::new(Functions::of(&library)?);
        if self.0 != Kerberos::default() {
            exchange.acquire(&library, &self.0)?;
        }
        exchange.first_token(service)
    }
}

/// Returns an error if the library cannot be loaded.
pub(super) fn check() -> Result<(), String> {
    load().map(drop)
}

fn load() -> Result<Library, String> {
    // SAFETY: loading runs the initialisers of the system's library; every program linked with the
    // library runs them too.
    unsafe { Library::new(LIBRARY) }.map_err(|error| format!("{LIBRARY} cannot be loaded: {error}"))
}

/// The functions of the library that every exchange needs; the lifetime ties them to the loaded
/// library.
struct Functions<'a> {
    import_name: libloading::Symbol<'a, ImportName>,
    init_sec_context: libloading::Symbol<'a, InitSecContext>,
    release_buffer: libloading::Symbol<'a, ReleaseBuffer>,
    release_name: libloading::Symbol<'a, ReleaseName>,
    release_cred: libloading::Symbol<'a, ReleaseCred>,
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
                release_cred: library.get("gss_release_cred").map_err(missing)?,
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
    principal: Handle,
    credential: Handle,
    context: Handle,
    output: Buffer,
}

impl<'a> Exchange<'a> {
    fn new(functions: Functions<'a>) -> Self {
        let none = ptr::null_mut();
        Self { functions, name: none, principal: none, credential: none, context: none, output: Buffer::EMPTY }
    }

    /// Returns a name that the library allocated.
    fn import(&self, text: &str, form: &'static [u8]) -> Result<Handle, String> {
        let (mut minor, mut name) = (0, ptr::null_mut());
        let buffer = Buffer { length: text.len(), value: text.as_ptr().cast_mut().cast() };
        let form = Oid::of(form);
        // SAFETY: the library only reads `buffer` and `form`, and stores a name that it allocated.
        let major =
            unsafe { (self.functions.import_name)(&raw mut minor, &raw const buffer, &raw const form, &raw mut name) };
        self.check(&format!("the name {text}"), major, minor)?;
        Ok(name)
    }

    /// Takes the credential of an identity instead of the default one.
    fn acquire(&mut self, library: &'a Library, identity: &Kerberos) -> Result<(), String> {
        // SAFETY: the type is the one that `gssapi_ext.h` defines for the function of this name.
        let acquire_cred_from: libloading::Symbol<'a, AcquireCredFrom> =
            unsafe { library.get("gss_acquire_cred_from") }.map_err(|error| format!("{LIBRARY}: {error}"))?;
        if let Some(principal) = &identity.principal {
            self.principal = self.import(principal, &USER_NAME)?;
        }
        let keytab = identity.keytab.as_deref().map(c_path).transpose()?;
        let elements = keytab.iter().map(|path| KeyValue { key: c"client_keytab".as_ptr(), value: path.as_ptr() });
        let elements: Vec<_> = elements.collect();
        let count = u32::try_from(elements.len()).unwrap_or(0);
        let store = KeyValues { count, elements: elements.as_ptr() };
        // The library refuses a store without elements.
        let store_or_none = if elements.is_empty() { ptr::null() } else { &raw const store };
        let mut minor = 0;
        // SAFETY: the library only reads `store`, whose elements and texts outlive the call. Null
        // means the default principal, the default store, all mechanisms, and outputs that are not
        // wanted.
        let major = unsafe {
            acquire_cred_from(
                &raw mut minor,
                self.principal,
                0,
                ptr::null(),
                INITIATE,
                store_or_none,
                &raw mut self.credential,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        let principal = identity.principal.as_deref().unwrap_or("the default principal");
        self.check(&format!("no credential of {principal}"), major, minor)
    }

    fn first_token(&mut self, service: &str) -> Result<Vec<u8>, String> {
        let (mut minor, mechanism) = (0, Oid::of(&SPNEGO));
        self.name = self.import(service, &HOST_BASED_SERVICE)?;
        // SAFETY: null means the default credential, no channel bindings, no input token, and
        // outputs that are not wanted. All other pointers outlive the call.
        let major = unsafe {
            (self.functions.init_sec_context)(
                &raw mut minor,
                self.credential,
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
        self.check(&format!("no ticket for {service}"), major, minor)?;
        Ok(self.output.to_vec())
    }

    fn check(&self, what: &str, major: u32, minor: u32) -> Result<(), String> {
        if major & ERRORS == 0 {
            return Ok(());
        }
        Err(format!("{what}: {}: {}", self.text(major, 1), self.text(minor, 2)))
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
            if !self.credential.is_null() {
                (self.functions.release_cred)(&raw mut minor, &raw mut self.credential);
            }
            for name in [&mut self.name, &mut self.principal].into_iter().filter(|name| !name.is_null()) {
                (self.functions.release_name)(&raw mut minor, name);
            }
        }
    }
}

fn c_path(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| format!("{}: a zero byte in a path", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs the library of the system, and no ticket.
    #[test]
    fn an_identity_without_a_key_is_named() {
        if check().is_err() {
            eprintln!("*** SKIPPED, THIS WAS NOT TESTED: {LIBRARY} is not installed ***");
            return;
        }
        let keytab = Some("/nonexistent/robot.keytab".into());
        for (principal, named) in [(Some("robot@EXAMPLE.ORG"), "robot@EXAMPLE.ORG"), (None, "the default principal")] {
            let identity = Kerberos { principal: principal.map(str::to_owned), keytab: keytab.clone() };
            let error = System(identity).token("HTTP@localhost").unwrap_err();
            assert!(error.starts_with(&format!("no credential of {named}: ")), "{error}");
        }
        let error = System(Kerberos::default()).token("HTTP@localhost").unwrap_err();
        assert!(error.starts_with("no ticket for HTTP@localhost: "), "{error}");
    }
}
