import Primitives
import Testing

@testable import ClientProtocol

func ascii(_ text: String) -> [UInt8] { Array(text.utf8) }
func slice(_ text: String) -> ArraySlice<UInt8> { Array(text.utf8)[...] }
func string(_ bytes: some Collection<UInt8>) -> String { String(decoding: bytes, as: UTF8.self) }

/// What an encoder appends, as text; fails when it is not JSON or holds a line break.
func encoded(_ body: (inout [UInt8]) -> Void, sourceLocation: SourceLocation = #_sourceLocation) -> String {
    var out: [UInt8] = []
    body(&out)
    #expect(throws: Never.self, sourceLocation: sourceLocation) {
        try out.withUnsafeBytes { _ = try JSONScanner.validate($0) }
    }
    #expect(!out.contains(0x0A) && !out.contains(0x0D), sourceLocation: sourceLocation)
    return string(out)
}

func validate(_ bytes: [UInt8], depthLimit: Int = 64) throws -> JSONValue {
    try bytes.withUnsafeBytes { try JSONScanner.validate($0, depthLimit: depthLimit) }
}

func isValid(_ text: String) -> Bool { (try? validate(ascii(text))) != nil }

/// All commands of a frame.
func decode(_ text: String, limits: ClientProtocolLimits = ClientProtocolLimits()) throws(ClientFrameError)
    -> [ClientCommand]
{
    // An odd start index, so that offsets into the slice and into its storage are not mistaken for each other.
    let storage = [0x20, 0x20, 0x20] + ascii(text)
    var decoder = ClientFrameDecoder(storage[3...], limits: limits)
    var commands: [ClientCommand] = []
    while let command = try decoder.next() { commands.append(command) }
    return commands
}

func decodeOne(_ text: String) throws -> ClientCommand {
    let commands = try decode(text)
    #expect(commands.count == 1)
    return try #require(commands.first)
}
