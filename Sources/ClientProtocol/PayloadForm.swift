/// How a publication's payload is shown to JSON clients.
package enum PayloadForm: UInt8, Sendable {
    /// One JSON value: re-emitted as it is.
    case json
    /// UTF-8 that is not JSON: a JSON string.
    case text
    /// Anything else: base64 in the member `b64data`.
    case binary

    /// Looks at bytes whose publisher did not say what they are (RESP, binary frames). Text that happens to be JSON,
    /// such as `123`, is JSON.
    package static func classify(_ bytes: ArraySlice<UInt8>) -> PayloadForm {
        bytes.withUnsafeBytes { raw in
            if isJSON(raw) { return .json }
            return JSONText.isUTF8(raw) ? .text : .binary
        }
    }

    package static func isJSON(_ raw: UnsafeRawBufferPointer) -> Bool {
        (try? JSONScanner.validate(raw)) != nil
    }

    /// For payloads that are known not to be JSON.
    package static func classifyOpaque(_ bytes: ArraySlice<UInt8>) -> PayloadForm {
        bytes.withUnsafeBytes { JSONText.isUTF8($0) ? .text : .binary }
    }
}
