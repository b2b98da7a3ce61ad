// SPDX-License-Identifier: Apache-2.0
// DNSClient.swift: addresses of names, asked of servers and remembered.

/// What is known about a name.
public enum DNSAnswer: Equatable, Sendable {
  /// It is being asked for: look again later.
  case pending
  /// Its addresses, at least one.
  case addresses([IPAddress])
  /// There is no such name, or it has no such address.
  case nothing
  /// No server answered.
  case failed
}

/// Asks servers for names, a bounded number at a time, and remembers a bounded number of answers.
public final class DNSClient {
  private struct Question {
    var name: DNSName
    var type: DNSType
    /// Which of the names that a short one may stand for is asked for.
    var candidate = 0
    var identifier: UInt16 = 0
    var socket: UDPHandle?
    var tries = 0
    var sendAt: Instant
  }

  private struct Entry {
    var name: DNSName
    var type: DNSType
    var answer: DNSAnswer
    var expires: Instant
  }

  private let stack: NetworkStack
  /// Who is asked, in turn.
  public var servers: [IPAddress]
  /// Domains in which a name without a dot is looked for, before it is asked for as it is.
  private let domains: [DNSName]
  private var questions: [Question] = []
  private var cache: [Entry] = []

  private static let maximumQuestions = 32
  private static let maximumEntries = 128
  private static let patience = TimeSpan.seconds(2)
  private static let rounds = 3
  /// How long a name that is not there is remembered (RFC 2308 says what a server says; this is less).
  private static let negativeLifetime = TimeSpan.seconds(30)
  private static let failureLifetime = TimeSpan.seconds(5)

  /// A client that has asked nothing yet.
  ///
  /// - Parameters:
  ///   - stack: The host that asks.
  ///   - servers: Who is asked.
  ///   - domains: Where names without a dot are looked for, as in `resolv.conf`'s search.
  public init(_ stack: NetworkStack, servers: [IPAddress], domains: [[UInt8]] = []) {
    self.stack = stack
    self.servers = servers
    var found: [DNSName] = []
    for domain in domains { if let name = DNSName(domain) { found.append(name) } }
    self.domains = found
  }

  /// When `poll` is to be called at the latest.
  public var deadline: Instant? {
    var due: Instant?
    for question in questions { due = earlier(due, question.sendAt) }
    return due
  }

  /// What is known about a name; asks if nothing is.
  ///
  /// - Parameters:
  ///   - text: The name, in ASCII.
  ///   - type: Which addresses.
  ///   - now: The time.
  /// - Returns: `pending` until there is an answer; it is then given for as long as it is remembered.
  public func lookUp(_ text: [UInt8], _ type: DNSType, _ now: Instant) -> DNSAnswer {
    guard let name = DNSName(text) else { return .nothing }
    if let entry = cache.first(where: { $0.name == name && $0.type == type && $0.expires > now }) {
      return entry.answer
    }
    if questions.contains(where: { $0.name == name && $0.type == type }) { return .pending }
    guard questions.count < Self.maximumQuestions, !servers.isEmpty else { return .failed }
    questions.append(Question(name: name, type: type, sendAt: now))
    return .pending
  }

  /// Takes answers, and asks what is due.
  ///
  /// The stack is to be polled after it.
  ///
  /// - Parameter now: The time.
  public func poll(_ now: Instant) {
    var index = 0
    while index < questions.count {
      let isOver = takeAnswers(index, now) || (questions[index].sendAt <= now && !ask(index, now))
      if isOver {
        if let socket = questions[index].socket { stack.close(socket) }
        questions.remove(at: index)
      } else {
        index += 1
      }
    }
  }

  /// The name that is asked for now: a short one in each domain, then as it is.
  private func asked(_ question: Question) -> DNSName {
    guard !question.name.bytes.contains(0x2e), question.candidate < domains.count else { return question.name }
    return DNSName(question.name.bytes + [0x2e] + domains[question.candidate].bytes) ?? question.name
  }

  /// - Returns: Whether the question could be sent, and not in vain for too long.
  private func ask(_ index: Int, _ now: Instant) -> Bool {
    if let socket = questions[index].socket { stack.close(socket) }
    questions[index].socket = nil
    guard questions[index].tries < Self.rounds * servers.count else {
      remember(questions[index], .failed, Self.failureLifetime, now)
      return false
    }
    let server = servers[questions[index].tries % servers.count]
    questions[index].tries += 1
    questions[index].sendAt = now + Self.patience
    // Another port and another number each time: an answer has to guess both (RFC 5452, 9).
    guard let socket = try? stack.openUDP(port: 0) else { return true }
    questions[index].socket = socket
    questions[index].identifier = UInt16(truncatingIfNeeded: stack.random.next())
    var bytes: [UInt8] = []
    DNSResponse.appendQuestion(
      questions[index].identifier, asked(questions[index]), questions[index].type, to: &bytes)
    try? stack.send(bytes.span, by: socket, to: Endpoint(server, 53), now)
    return true
  }

  /// - Returns: Whether the question has its answer.
  private func takeAnswers(_ index: Int, _ now: Instant) -> Bool {
    guard let socket = questions[index].socket else { return false }
    while let datagram = stack.receive(socket) {
      let question = questions[index]
      guard datagram.source.port == 53, servers.contains(datagram.source.address),
        let response = try? DNSResponse(parsing: datagram.bytes.span), response.identifier == question.identifier,
        response.question == asked(question), response.type == question.type.rawValue
      else { continue }
      if response.code == 0, !response.isTruncated, !response.addresses.isEmpty {
        let seconds = TimeSpan.seconds(Int64(min(max(response.lifetime, 1), 86_400)))
        remember(question, .addresses(response.addresses), seconds, now)
        return true
      }
      if response.code != 0 && response.code != 3 || response.isTruncated {
        // This server cannot help: the next one is asked at once.
        questions[index].sendAt = now
        return false
      }
      if !question.name.bytes.contains(0x2e), question.candidate < domains.count {
        questions[index].candidate += 1
        questions[index].tries = 0
        questions[index].sendAt = now
        return false
      }
      remember(question, .nothing, Self.negativeLifetime, now)
      return true
    }
    return false
  }

  private func remember(_ question: Question, _ answer: DNSAnswer, _ lifetime: TimeSpan, _ now: Instant) {
    cache.removeAll { $0.expires <= now || $0.name == question.name && $0.type == question.type }
    if cache.count >= Self.maximumEntries { cache.removeFirst() }
    cache.append(Entry(name: question.name, type: question.type, answer: answer, expires: now + lifetime))
  }
}
