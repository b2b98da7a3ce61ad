// SPDX-License-Identifier: Apache-2.0
// LivePage.swift: the page /.apus.

let livePage: StaticString = """
<!doctype html><title>Apus</title><p>soon</p>
"""
