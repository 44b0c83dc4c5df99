#!/usr/bin/env node
import { processContext } from './context.ts'
import { runProgram } from './program.ts'

process.exitCode = await runProgram(process.argv.slice(2), processContext())
