/// Why bytes are not JSON as we accept it, and where.
package struct JSONError: Error, Equatable {
    package enum Kind: Sendable {
        case unexpectedEnd
        /// A byte that the grammar does not allow there.
        case unexpectedByte
        case invalidLiteral
        case invalidNumber
        /// A raw control character inside a string.
        case controlCharacter
        case invalidEscape
        /// Half of a surrogate pair.
        case loneSurrogate
        case invalidUTF8
        case tooDeep
        /// The same name twice in an object whose members have a meaning for us.
        case duplicateMember
        case tooManyMembers
        case trailingBytes
    }

    package let kind: Kind
    /// The offset of the offending byte in the scanned buffer.
    package let position: Int

    package init(_ kind: Kind, at position: Int) {
        self.kind = kind
        self.position = position
    }
}
