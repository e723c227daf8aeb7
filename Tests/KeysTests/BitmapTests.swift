import Primitives
import Testing

@testable import Keys

@Suite("Bitmaps") struct BitmapTests {
    @Test("RS-11 SETBIT, GETBIT, BITCOUNT, BITPOS")
    func bits() {
        var redis = KeyspaceSession()
        #expect(redis("SETBIT b 7 1") == "0")
        #expect(redis("SETBIT b 7 0") == "1")
        #expect(redis("SETBIT b 100 1") == "0")
        #expect(redis("STRLEN b") == "13")
        #expect(redis("GETBIT b 100") == "1")
        #expect(redis("GETBIT b 9999") == "0")
        #expect(redis("SETBIT b 1 2") == "ERR bit is not an integer or out of range")
        #expect(redis("SETBIT b 4294967296 1") == "ERR bit offset is not an integer or out of range")
        _ = redis("SET k foobar")
        #expect(redis("BITCOUNT k") == "26")
        #expect(redis("BITCOUNT k 1 1") == "6")
        #expect(redis("BITCOUNT k -2 -1") == "7")
        #expect(redis("BITCOUNT k 5 30 BIT") == "17")
        #expect(redis("BITCOUNT k -3 -8 BIT") == "0")
        #expect(redis("BITCOUNT k 0") == "ERR syntax error")
        _ = redis("SET p \"\\xff\\xf0\\x00\"")
        #expect(redis("BITPOS p 0") == "12")
        #expect(redis("BITPOS p 1 2") == "-1")
        #expect(redis("BITPOS p 1 7 15 BIT") == "7")
        #expect(redis("BITPOS p 0 0 0") == "-1")
        _ = redis("SET ones \"\\xff\\xff\"")
        #expect(redis("BITPOS ones 0") == "16")
        #expect(redis("BITPOS ones 0 0 -1") == "-1")
        #expect(redis("BITPOS none 0") == "0")
        #expect(redis("BITPOS none 1") == "-1")
    }

    @Test("RS-11 counts and positions agree with looking at each bit")
    func model() {
        var random = Xoshiro256(seed: 1)
        for _ in 0..<3000 {
            let bytes = (0...random.below(20)).map { _ in
                random.chance(1, in: 3) ? 0 : random.chance(1, in: 2) ? 255 : UInt8(truncatingIfNeeded: random.next())
            }
            let total = UInt64(bytes.count * 8)
            let start = Int64(random.below(total))
            let range = start..<(start + 1 + Int64(random.below(total - UInt64(start))))
            let set = range.filter { bytes[Int($0 >> 3)] >> UInt8(7 - $0 & 7) & 1 == 1 }
            #expect(Bits.count(bytes, range) == set.count)
            #expect(Bits.first(bytes, isSet: true, range) == set.first)
            #expect(Bits.first(bytes, isSet: false, range) == range.first { !set.contains($0) })
        }
    }

    @Test("RS-11 BITOP over strings of different lengths")
    func operations() {
        var redis = KeyspaceSession()
        _ = redis("SET a \"\\xff\\x0f\"")
        _ = redis("SET b \"\\xf0\"")
        #expect(redis("BITOP AND r a b") == "2")
        #expect(redis("GET r") == "\"\\xf0\\x00\"")
        #expect(redis("BITOP or r b a none") == "2")
        #expect(redis("GET r") == "\"\\xff\\x0f\"")
        #expect(redis("BITOP XOR r a b") == "2")
        #expect(redis("GET r") == "\"\\x0f\\x0f\"")
        #expect(redis("BITOP NOT r a") == "2")
        #expect(redis("GET r") == "\"\\x00\\xf0\"")
        #expect(redis("BITOP NOT r a b") == "ERR BITOP NOT must be called with a single source key.")
        #expect(redis("BITOP AND r none") == "0")
        #expect(redis("EXISTS r") == "0")
    }

    @Test("RS-11 BITFIELD: widths, signs, and what happens when a number does not fit")
    func fields() {
        var redis = KeyspaceSession()
        #expect(redis("BITFIELD f SET u8 0 255 GET i8 0 INCRBY u8 0 1") == "[0, -1, 0]")
        #expect(redis("BITFIELD f OVERFLOW SAT SET u4 #1 200 GET u4 4") == "[0, 15]")
        #expect(redis("BITFIELD f OVERFLOW FAIL INCRBY u4 #1 1 GET u4 4") == "[nil, 15]")
        #expect(redis("BITFIELD f OVERFLOW SAT INCRBY i5 8 -100") == "[-16]")
        #expect(redis("BITFIELD f SET i64 64 -9223372036854775808 INCRBY i64 64 -1") == "[0, 9223372036854775807]")
        #expect(redis("BITFIELD f SET u63 0 -1 GET u63 0") == "[558446353793941504, 9223372036854775807]")
        #expect(redis("BITFIELD_RO f GET u1 0") == "[1]")
        #expect(redis("BITFIELD_RO f SET u1 0 1") == "ERR BITFIELD_RO only supports the GET subcommand")
        #expect(redis("BITFIELD f GET u64 0").hasPrefix("ERR Invalid bitfield type"))
        #expect(redis("BITFIELD f OVERFLOW NONE GET u1 0") == "ERR Invalid OVERFLOW type specified")
        #expect(redis("BITFIELD none GET i16 3") == "[0]")
        #expect(redis("EXISTS none") == "0")
    }
}
