"""What papers say in fixed words, by language: an invoice says Total, a figure's caption says Figure."""

from __future__ import annotations

from typing import Final

_COLUMNS: Final = ("en", "de", "fr", "es", "it", "nl", "pt")
_ROWS: Final = {
    "figure": ("Figure", "Abbildung", "Figure", "Figura", "Figura", "Figuur", "Figura"),
    "fig": ("Fig.", "Abb.", "Fig.", "Fig.", "Fig.", "Afb.", "Fig."),
    "table": ("Table", "Tabelle", "Tableau", "Tabla", "Tabella", "Tabel", "Tabela"),
    "page": ("Page", "Seite", "Page", "Página", "Pagina", "Pagina", "Página"),
    "of": ("of", "von", "sur", "de", "di", "van", "de"),
    "abstract": ("Abstract", "Zusammenfassung", "Résumé", "Resumen", "Sommario", "Samenvatting", "Resumo"),
    "contents": ("Contents", "Inhalt", "Sommaire", "Índice", "Indice", "Inhoud", "Índice"),
    "chapter": ("Chapter", "Kapitel", "Chapitre", "Capítulo", "Capitolo", "Hoofdstuk", "Capítulo"),
    "section": ("Section", "Abschnitt", "Section", "Sección", "Sezione", "Artikel", "Secção"),
    "see": ("See", "Siehe", "Voir", "Véase", "Vedi", "Zie", "Ver"),
    "note": ("Note:", "Hinweis:", "Remarque :", "Nota:", "Nota:", "Let op:", "Nota:"),
    "invoice": ("Invoice", "Rechnung", "Facture", "Factura", "Fattura", "Factuur", "Fatura"),
    "receipt": ("Receipt", "Quittung", "Reçu", "Recibo", "Ricevuta", "Kassabon", "Recibo"),
    "order": (
        "Purchase Order", "Bestellung", "Bon de commande", "Pedido", "Ordine", "Bestelbon", "Encomenda",
    ),
    "statement": (
        "Account Statement", "Kontoauszug", "Relevé de compte", "Extracto de cuenta", "Estratto conto",
        "Rekeningoverzicht", "Extrato de conta",
    ),
    "report": (
        "Laboratory Report", "Laborbefund", "Rapport d'analyse", "Informe de análisis", "Referto",
        "Laboratoriumverslag", "Relatório de análise",
    ),
    "number": ("No.", "Nr.", "N°", "N.º", "N.", "Nr.", "N.º"),
    "date": ("Date", "Datum", "Date", "Fecha", "Data", "Datum", "Data"),
    "due": ("Due", "Fällig", "Échéance", "Vencimiento", "Scadenza", "Vervaldatum", "Vencimento"),
    "customer": ("Customer", "Kunde", "Client", "Cliente", "Cliente", "Klant", "Cliente"),
    "subtotal": ("Subtotal", "Zwischensumme", "Sous-total", "Subtotal", "Subtotale", "Subtotaal", "Subtotal"),
    "tax": ("VAT 20%", "MwSt. 19%", "TVA 20%", "IVA 21%", "IVA 22%", "BTW 21%", "IVA 23%"),
    "total": ("Total", "Summe", "Total", "Total", "Totale", "Totaal", "Total"),
    "balance": ("Balance", "Saldo", "Solde", "Saldo", "Saldo", "Saldo", "Saldo"),
    "cash": ("Cash", "Bar", "Espèces", "Efectivo", "Contanti", "Contant", "Dinheiro"),
    "thanks": (
        "Thank you for your visit!", "Vielen Dank für Ihren Einkauf!", "Merci de votre visite !",
        "¡Gracias por su compra!", "Grazie e arrivederci!", "Bedankt en tot ziens!", "Obrigado pela visita!",
    ),
    "dear": ("Dear", "Sehr geehrte Frau", "Cher Monsieur", "Estimado señor", "Gentile", "Geachte heer", "Caro"),
    "regards": (
        "Yours sincerely,", "Mit freundlichen Grüßen", "Cordialement,", "Atentamente,", "Cordiali saluti,",
        "Met vriendelijke groet,", "Atenciosamente,",
    ),
    "name": ("Name", "Name", "Nom", "Nombre", "Nome", "Naam", "Nome"),
    "street": ("Street", "Straße", "Rue", "Calle", "Via", "Straat", "Rua"),
    "town": ("Town", "Ort", "Ville", "Ciudad", "Città", "Plaats", "Cidade"),
    "phone": ("Phone", "Telefon", "Téléphone", "Teléfono", "Telefono", "Telefoon", "Telefone"),
    "email": ("E-mail", "E-Mail", "Courriel", "Correo", "E-mail", "E-mail", "E-mail"),
    "signature": ("Signature", "Unterschrift", "Signature", "Firma", "Firma", "Handtekening", "Assinatura"),
    "yes": ("Yes", "Ja", "Oui", "Sí", "Sì", "Ja", "Sim"),
    "no": ("No", "Nein", "Non", "No", "No", "Nee", "Não"),
    "theorem": ("Theorem", "Satz", "Théorème", "Teorema", "Teorema", "Stelling", "Teorema"),
    "proof": ("Proof.", "Beweis.", "Preuve.", "Demostración.", "Dimostrazione.", "Bewijs.", "Demonstração."),
    "where": ("where", "wobei", "où", "donde", "dove", "waarbij", "onde"),
    "price": ("Price", "Preis", "Prix", "Precio", "Prezzo", "Prijs", "Preço"),
    "item": ("Item", "Artikel", "Article", "Artículo", "Articolo", "Artikel", "Artigo"),
    "months": (
        "January February March April May June July August September October November December",
        "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
        "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
        "januari februari maart april mei juni juli augustus september oktober november december",
        "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    ),
    "short": (
        "e.g. i.e. etc. approx. vs. Dr. Mr. Mrs. St. Inc. Ltd. vol. ed. pp. cf.",
        "z.B. d.h. usw. ca. bzw. Dr. Hr. Fr. Str. GmbH AG Bd. Hrsg. S. vgl.",
        "p.ex. c.-à-d. etc. env. Dr M. Mme St S.A. SARL vol. éd. pp. cf. av.",
        "p.ej. etc. aprox. vs. Dr. Sr. Sra. S.A. S.L. vol. ed. págs. cf. núm.",
        "ad.es. cioè ecc. circa Dott. Sig. Sig.ra S.p.A. S.r.l. vol. ed. pp. cfr. n.",
        "bijv. d.w.z. enz. ca. t.o.v. dr. dhr. mevr. B.V. N.V. dl. red. blz. vgl. o.a.",
        "p.ex. etc. aprox. vs. Dr. Sr. Sra. Lda. S.A. vol. ed. págs. cf. n.º",
    ),
}  # fmt: skip


def term(name: str, language: str) -> str:
    """What a paper in `language` says; English where the language has no column."""
    return _ROWS[name][_COLUMNS.index(language) if language in _COLUMNS else 0]
