// The anchor of `bench audit`: @xen-orchestra/audit-core over LevelDB, with its records as JSON, as Xen Orchestra has it.
// `node audit_core.js DIRECTORY` adds the records that it reads, lines of JSON up to an empty one; answers with their
// mean size; then answers each further line with one whole check of their integrity.
'use strict'

const readline = require('readline')
const { AuditCore, NULL_ID, Storage } = require('@xen-orchestra/audit-core')
const { Level } = require('level')

const LAST_ID = 'lastId'

class LevelStorage extends Storage {
  constructor(db) {
    super()
    this._db = db
  }
  put(record) {
    return this._db.put(record.id, record)
  }
  get(id) {
    return this._db.get(id)
  }
  del(id) {
    return this._db.del(id)
  }
  getLastId() {
    return this._db.get(LAST_ID)
  }
  setLastId(id) {
    return this._db.put(LAST_ID, id)
  }
}

const answer = what => process.stdout.write(JSON.stringify(what) + '\n')

async function check(core, storage) {
  const cpu = process.cpuUsage()
  const began = process.hrtime.bigint()
  const valid = await core.checkIntegrity(NULL_ID, await storage.getLastId())
  const seconds = Number(process.hrtime.bigint() - began) / 1e9
  const { user, system } = process.cpuUsage(cpu)
  answer({ valid, seconds, cpu_seconds: (user + system) / 1e6 })
}

async function main() {
  const db = new Level(process.argv[2], { valueEncoding: 'json' })
  const storage = new LevelStorage(db)
  const core = new AuditCore(storage)
  let isFilled = false
  let bytes = 0
  let records = 0
  for await (const line of readline.createInterface({ input: process.stdin })) {
    if (isFilled) {
      await check(core, storage)
    } else if (line === '') {
      isFilled = true
      answer({ records, mean_bytes: bytes / records })
    } else {
      const { subject, event, data } = JSON.parse(line)
      bytes += JSON.stringify(await core.add(subject, event, data)).length
      records++
    }
  }
  await db.close()
}

main()
